-- Releases a lock and hands it to the head of its queue: only while it is ours, or where nobody
-- has it. Our own ticket leaves the queue.
-- KEYS: the lock, its queue. ARGV: our token, a reservation's life in ms, our ticket's ttl in ms.
-- A head that has shown itself within half a second gets the lock for the ttl that its ticket asks
-- for (R10'), any other one a reservation (R10); where nobody listens for it, it is the next one's
-- turn. The head's process is told, and so is that of the next one, who looks whether the head is
-- alive.
-- One letter: h handed on, d deleted, m missing (and handed on, if somebody waited), o another's.
local lock, queue, me = KEYS[1], KEYS[2], ARGV[1]
local held = redis.pcall('GET', lock)
if held ~= me then
  redis.call('ZREM', queue, me .. ARGV[3])
  if held then return 'o' end
end
local function tell(token, word)
  return redis.call('PUBLISH', 'redlatch:p:' .. string.sub(token, 1, 16), word .. lock)
end
for _ = 1, 16 do
  local head = redis.call('ZPOPMIN', queue)
  if not head[1] then break end
  local token, life = string.sub(head[1], 1, 32), string.sub(head[1], 33)
  local time = redis.call('TIME')
  local age = (time[1] * 4 + math.floor(time[2] / 250000) - head[2]) % 64
  local is_here = age < 3 and tonumber(life)
  if not is_here then life = ARGV[2] end
  redis.call('SET', lock, token, 'PX', life)
  if tell(token, (is_here and 'G' or 'g') .. token) > 0 then
    local next = redis.call('ZRANGE', queue, 0, 0)[1]
    if next then
      next = string.sub(next, 1, 32)
      tell(next, 'n' .. next)
      tell(token, 'w' .. next)
    end
    return held and 'h' or 'm'
  end
end
redis.call('DEL', lock)
return held and 'd' or 'm'
