-- Takes a free lock and counts its fencing token up (protocol F1).
-- KEYS: the epoch, the lock, the counter. ARGV: the epoch's id, the owner's token, the ttl in ms,
-- the proposed fencing token, the counter's life in ms.
-- The answer: the token this node accepts, max(counter + 1, proposal); nil if the lock is taken.
-- The lock is written first: a server that is out of memory refuses a script's first write only.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('EPOCH another epoch has begun')
end
if not redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) then return false end
local accepted = tonumber(ARGV[4])
local last = redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[5], 'GET')
if last and tonumber(last) >= accepted then
  accepted = tonumber(last) + 1
  redis.call('SET', KEYS[3], string.format('%.0f', accepted), 'PX', ARGV[5])
end
return accepted
