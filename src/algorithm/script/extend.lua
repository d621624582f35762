-- Extends many leases at once and never shortens one.
-- KEYS[i] is a lock, ARGV[2i-1] the token it must hold, ARGV[2i] the ttl in milliseconds.
-- One letter per key comes back: e extended (or already longer), m missing, o another owner's.
local out = {}
for i = 1, #KEYS do
  local value = redis.pcall('GET', KEYS[i])
  if value == ARGV[2 * i - 1] then
    local ttl = tonumber(ARGV[2 * i])
    if redis.call('PTTL', KEYS[i]) < ttl then redis.call('PEXPIRE', KEYS[i], ttl) end
    out[i] = 'e'
  elseif value then
    out[i] = 'o'
  else
    out[i] = 'm'
  end
end
return table.concat(out)
