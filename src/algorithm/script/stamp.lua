-- Reads a node's epoch, and begins a new one where the node may have forgotten locks (R2, R4).
-- KEYS[1] the epoch's id. KEYS[2] the node's state, one string of six words: incarnation, the
-- node's time when the epoch began, when its quarantine ends, the quarantine in ms that clients
-- asked for, the fleet that they say the node belongs to, and when one said so last (us).
-- ARGV[1] greet: begin an epoch if there is none or if the incarnation changed. void: also if
-- it is still ARGV[5]. open: begin one without quarantine, only if there is none. peek: begin none.
-- ARGV[2] the id of an epoch that is begun. ARGV[3] the caller's quarantine in ms.
-- ARGV[4] the caller's fleet. The answer: id, run id, time, end of quarantine, quarantine, fleet.
local mode, fresh, asked, fleet, old = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local replication = redis.call('INFO', 'replication')
if string.match(replication, 'role:(%a+)') ~= 'master' then
  return redis.error_reply('READONLY this node is a replica')
end
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local incarnation = run .. '/' .. (string.match(replication, 'master_replid:(%w+)') or '')
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local id = redis.call('GET', KEYS[1])
local state = redis.call('GET', KEYS[2]) or ''
local was, began, opens, quarantine, other, seen =
  string.match(state, '^(%S+) (%d+) (%d+) (%d+) (%S+) (%d+)$')
began, opens, seen = tonumber(began) or 0, tonumber(opens) or 0, tonumber(seen) or 0
quarantine = tonumber(quarantine) or 0
local changed, refresh = false, false
if mode == 'peek' then
  return {id or '', run, now, opens, quarantine, other or ''}
end
if mode == 'open' and id then
  return redis.error_reply('INITIALISED this node has an epoch already')
end
-- The larger ttl is published before it is used; a quarantine that still runs grows with it.
if asked > quarantine then
  quarantine, changed = asked, true
  if now < opens then opens = math.max(opens, began + quarantine * 1000) end
end
if not id or was ~= incarnation or (mode == 'void' and id == old) then
  id, began, opens, other, changed = fresh, now, now + quarantine * 1000, fleet, true
  if mode == 'open' then opens = now end
  redis.call('SET', KEYS[1], id)
end
-- Of two fleets that name one node the first stays on record while its clients are alive.
local age = now - seen
if other == fleet then
  refresh = age > 5000000 or age < 0
elseif age > 10000000 or age < 0 then
  other, refresh = fleet, true
end
if changed or refresh then
  if other == fleet then seen = now end
  -- A full node may refuse the refresh, which is a courtesy; it must not refuse the rest.
  local set = changed and redis.call or redis.pcall
  set('SET', KEYS[2], string.format('%s %.0f %.0f %.0f %s %.0f',
    incarnation, began, opens, quarantine, other, seen))
end
return {id, run, now, opens, quarantine, other}
