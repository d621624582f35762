-- Extends many leases at once and never shortens one. KEYS[1] is the epoch, ARGV[1] its id: the
-- answers of another epoch must not count (R5). KEYS[i + 1] is a lock, ARGV[2i] the token it must
-- hold, ARGV[2i + 1] the ttl in milliseconds, 0 to look only.
-- One letter per lock comes back: e extended (or already longer), m missing, o another owner's.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('EPOCH another epoch has begun')
end
local out = {}
for i = 2, #KEYS do
  local value = redis.pcall('GET', KEYS[i])
  if value == ARGV[2 * i - 2] then
    local ttl = tonumber(ARGV[2 * i - 1])
    if redis.call('PTTL', KEYS[i]) < ttl and ttl > 0 then redis.call('PEXPIRE', KEYS[i], ttl) end
    out[i - 1] = 'e'
  elseif value then
    out[i - 1] = 'o'
  else
    out[i - 1] = 'm'
  end
end
return table.concat(out)
