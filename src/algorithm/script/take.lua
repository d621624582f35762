-- Takes several locks in their modes, all of them or none (DESIGN §7).
-- KEYS: the epoch, the locks. ARGV: the epoch's id, the owner's token, the ttl in ms, a mode per
-- lock, and the number of permits where a mode is one.
-- X is the plain string of SET NX: token. S, IS, IX and P<n>, permit n, are fields of a hash:
-- token = "<mode> <end>", the end in ms of this node's time. Such a key lives as long as its last
-- entry. Taking what the token holds already lengthens it, and never shortens.
-- The answer: 1 taken; -n denied, but permit n is free here; nil denied.
-- Nothing is written before all is decided, and what needs memory is written first: a server that
-- is out of it refuses a script's first write only.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('EPOCH another epoch has begun')
end
local beside = {
  X = {}, S = {S = true, IS = true},
  IX = {IS = true, IX = true}, IS = {S = true, IS = true, IX = true}
}
local shapes = {
  S = {'\nI?S %d+'}, IX = {'\nI[SX] %d+'}, IS = {'\nI?S %d+', '\nIX %d+'}
}
local permits = tonumber(string.match(ARGV[#KEYS + 3] or '', '^[1-9]%d?%d?%d?$'))
local ttl = tonumber(string.match(ARGV[3] or '', '^[1-9]%d*$'))
local sane = ttl and #ARGV[3] < 14
for i = 2, #KEYS do
  local mode = ARGV[i + 2] or ''
  local permit = string.match(mode, '^P(%d%d?%d?%d?)$')
  if not beside[mode] and not (permit and permits and tonumber(permit) < permits) then
    sane = false
  end
end
if not sane then return redis.error_reply('ERR no such mode, or no such ttl') end
local token = ARGV[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function joins(key, mode)
  if not shapes[mode] then return false end
  local values = redis.call('HVALS', key)
  local ends = tonumber(string.match(values[1], ' (%d+)$'))
  if not ends or ends < now or #values >= 1024 then return false end
  local rest = '\n' .. table.concat(values, '\n')
  for _, shape in ipairs(shapes[mode]) do rest = string.gsub(rest, shape, '') end
  return rest == ''
end
local plan = {}
for i = 2, #KEYS do
  local key, mode = KEYS[i], ARGV[i + 2]
  local kind = redis.call('TYPE', key).ok
  local step = {kind = kind, last = now + ttl, ends = now + ttl, dead = {}}
  local own = kind == 'hash' and redis.call('HGET', key, token)
  local is_new = not own or (tonumber(string.match(own, '^%w+ (%d+)$')) or 0) < now
  -- Readers do not starve a writer that waits in the queue.
  if mode == 'S' and is_new and redis.call('EXISTS', 'redlatch:queue:' .. key) == 1 then
    return false
  end
  if kind == 'string' then
    if mode ~= 'X' or redis.call('GET', key) ~= token then return false end
  elseif kind == 'hash' and not own and joins(key, mode) then
    step.joins = true
  elseif kind == 'hash' then
    local entries = redis.call('HGETALL', key)
    local taken, denied = {}, false
    for at = 1, #entries, 2 do
      local held, ends = string.match(entries[at + 1], '^(%w+) (%d+)$')
      -- Not ours, but somebody's.
      if not held then return false end
      ends = tonumber(ends)
      if ends < now then
        if entries[at] ~= token then step.dead[#step.dead + 1] = entries[at] end
      else
        if entries[at] == token then
          step.ends = math.max(step.ends, ends)
        elseif beside[mode] then
          if not beside[mode][held] then return false end
        elseif held == mode then
          denied = true
        elseif string.sub(held, 1, 1) ~= 'P' then
          return false
        end
        taken[held] = true
        step.last = math.max(step.last, ends)
      end
    end
    if denied then
      local first = tonumber(string.sub(mode, 2))
      for n = first + 1, first + permits - 1 do
        if not taken[string.format('P%d', n % permits)] then return -(n % permits) end
      end
      return false
    end
    if #entries / 2 - #step.dead >= 1024 and not own then return false end
  elseif kind ~= 'none' then
    return false
  end
  plan[i] = step
end
for i = 2, #KEYS do
  local key, mode, step = KEYS[i], ARGV[i + 2], plan[i]
  if mode ~= 'X' then
    redis.call('HSET', key, token, string.format('%s %.0f', mode, step.ends))
    if not step.joins then
      redis.call('PEXPIREAT', key, string.format('%.0f', step.last))
    elseif redis.call('PTTL', key) < ttl then
      redis.call('PEXPIRE', key, ARGV[3])
    end
    for _, field in ipairs(step.dead) do redis.call('HDEL', key, field) end
  elseif step.kind ~= 'string' then
    redis.call('SET', key, token, 'PX', ARGV[3])
  elseif redis.call('PTTL', key) < ttl then
    redis.call('PEXPIRE', key, ARGV[3])
  end
end
return 1
