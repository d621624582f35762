-- Releases a lock and hands it to the head of its queue (R10): only while it is ours, or where
-- nobody has it. Our own ticket leaves the queue.
-- KEYS: the lock, its queue. ARGV: our token, a reservation's life in ms.
-- The head's process is told, and so is the next one, who looks whether the head is alive.
-- One letter: h handed on, d deleted, m missing (and handed on, if somebody waited), o another's.
local lock, queue = KEYS[1], KEYS[2]
local held = redis.pcall('GET', lock)
redis.call('ZREM', queue, ARGV[1])
if held and held ~= ARGV[1] then return 'o' end
local head = redis.call('ZPOPMIN', queue)[1]
if not head then
  if held then redis.call('DEL', lock) end
  return held and 'd' or 'm'
end
redis.call('SET', lock, head, 'PX', ARGV[2])
local function tell(token, word)
  redis.call('PUBLISH', 'redlatch:p:' .. string.sub(token, 1, 16), word .. token .. lock)
end
tell(head, 'g')
local next = redis.call('ZRANGE', queue, 0, 0)[1]
if next then
  tell(next, 'n')
  redis.call('PUBLISH', 'redlatch:p:' .. string.sub(head, 1, 16), 'w' .. next .. lock)
end
return held and 'h' or 'm'
