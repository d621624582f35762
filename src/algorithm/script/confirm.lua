-- Takes a lock that was reserved for us, and counts its fencing token up, as the fenced script
-- does for a free one (protocol F1).
-- KEYS: the epoch, the lock, the counter. ARGV: the epoch's id, the owner's token, the ttl in ms,
-- the proposed fencing token, the counter's life in ms.
-- The answer: the token this node accepts, max(counter + 1, proposal); nil if it is not ours.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('EPOCH another epoch has begun')
end
if redis.pcall('GET', KEYS[2]) ~= ARGV[2] then return false end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
local accepted = tonumber(ARGV[4])
local last = redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[5], 'GET')
if last and tonumber(last) >= accepted then
  accepted = tonumber(last) + 1
  redis.call('SET', KEYS[3], string.format('%.0f', accepted), 'PX', ARGV[5])
end
return accepted
