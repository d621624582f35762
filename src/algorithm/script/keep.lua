-- Lengthens all locks that one token holds in their modes, or looks whether it holds them all.
-- KEYS: the epoch, the locks. ARGV: the epoch's id, the owner's token, the ttl in ms, 0 to look.
-- One letter: e extended (or already longer), m one is missing or has ended, o one is another's.
-- Nothing is lengthened but all of it, and nothing that has ended is revived.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('EPOCH another epoch has begun')
end
local ttl = ARGV[3] == '0' and 0 or tonumber(string.match(ARGV[3] or '', '^[1-9]%d*$'))
if not ttl or #ARGV[3] > 13 then return redis.error_reply('ERR no such ttl') end
local token = ARGV[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local letter, modes, ends = 'e', {}, {}
for i = 2, #KEYS do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind == 'string' then
    if redis.call('GET', KEYS[i]) ~= token then letter = 'o' end
  else
    local entry = kind == 'hash' and redis.call('HGET', KEYS[i], token)
    if entry then
      local held, till = string.match(entry, '^(%w+) (%d+)$')
      modes[i], ends[i] = held, tonumber(till)
    end
    if not ends[i] or ends[i] < now then letter = letter == 'o' and 'o' or 'm' end
  end
end
if letter ~= 'e' or ttl == 0 then return letter end
for i = 2, #KEYS do
  local left = redis.call('PTTL', KEYS[i])
  if not modes[i] then
    if left < ttl then redis.call('PEXPIRE', KEYS[i], ARGV[3]) end
  elseif ends[i] < now + ttl then
    -- In this order: what needs no memory is a script's first write, and a full server takes it.
    -- As a span: the time has gone on since it was read, and others live as long as the key.
    redis.call('PEXPIRE', KEYS[i], string.format('%.0f', math.max(left, ttl)))
    redis.call('HSET', KEYS[i], token, string.format('%s %.0f', modes[i], now + ttl))
  end
end
return letter
