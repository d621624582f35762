-- Raises a lock's fencing counter for its owner, where the nodes counted differently (F1).
-- KEYS: the epoch, the lock, the counter. ARGV: the epoch's id, the owner's token, the fencing
-- token, the counter's life in ms.
-- One letter: e raised, n the counter is there or beyond, m the lock is missing, o another's.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('EPOCH another epoch has begun')
end
local value = redis.pcall('GET', KEYS[2])
if value ~= ARGV[2] then return value and 'o' or 'm' end
local last = redis.call('GET', KEYS[3])
if last and tonumber(last) >= tonumber(ARGV[3]) then return 'n' end
redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4])
return 'e'
