-- Releases all locks that one token holds in their modes, and hands what gets free to the head of
-- its queue: as the script that leaves, which says how.
-- KEYS: the locks. ARGV: the owner's token, a reservation's life in ms.
-- One letter: h all were held, and one was handed on; d all were held, m one was missing, o one was
-- another's. What was held is released in any case.
-- Where a right to queues or channels is missing, the lock is released all the same.
local token, letter, handed = ARGV[1] or '', 'd', false
local function tell(to, word, lock)
  local heard = redis.pcall('PUBLISH', 'redlatch:p:' .. string.sub(to, 1, 16), word .. lock)
  return type(heard) == 'number' and heard > 0
end
local function hand_on(lock)
  local queue = 'redlatch:queue:' .. lock
  for _ = 1, 16 do
    local head = redis.pcall('ZPOPMIN', queue)
    if not head[1] then break end
    local to, life = string.sub(head[1], 1, 32), string.sub(head[1], 33)
    local time = redis.call('TIME')
    local age = (time[1] * 4 + math.floor(time[2] / 250000) - head[2]) % 64
    local is_here = age < 3 and tonumber(life)
    if not is_here then life = ARGV[2] end
    redis.call('SET', lock, to, 'PX', life)
    if tell(to, (is_here and 'G' or 'g') .. to, lock) then
      local next = redis.pcall('ZRANGE', queue, 0, 0)[1]
      if next then
        next = string.sub(next, 1, 32)
        tell(next, 'n' .. next, lock)
        tell(to, 'w' .. next, lock)
      end
      handed = true
      return
    end
  end
  redis.call('DEL', lock)
end
-- A key of several owners lives as long as the last of them. Whoever ends before it is not that one.
local function shorten(key, entry)
  local time, left = redis.call('TIME'), redis.call('PTTL', key)
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local ends = tonumber(string.match(entry, '^%w+ (%d+)$'))
  if ends and ends + 5 < now + left then return end
  local last = false
  for _, value in ipairs(redis.call('HVALS', key)) do
    ends = tonumber(string.match(value, '^%w+ (%d+)$'))
    last = ends and math.max(ends, last or 0) or last
  end
  if last then redis.call('PEXPIREAT', key, string.format('%.0f', last)) end
end
for i = 1, #KEYS do
  local key = KEYS[i]
  local kind = redis.call('TYPE', key).ok
  local entry = kind == 'hash' and redis.call('HGET', key, token)
  if kind == 'string' and redis.call('GET', key) == token then
    hand_on(key)
  elseif entry then
    redis.call('HDEL', key, token)
    if redis.call('EXISTS', key) == 1 then shorten(key, entry) end
    if redis.call('EXISTS', key) == 0 then hand_on(key) end
  elseif kind == 'string' then
    letter = 'o'
  elseif letter == 'd' then
    letter = 'm'
  end
end
return handed and letter == 'd' and 'h' or letter
