-- Releases many locks at once: deletes each key that still holds its owner's token.
-- KEYS[i] is a lock, ARGV[i] the token it must hold. One letter per key comes back:
-- d deleted, m missing, o another owner's. MGET answers nil for a key that is no string: m.
local held = redis.call('MGET', unpack(KEYS))
local mine, out = {}, {}
for i = 1, #KEYS do
  if held[i] == ARGV[i] then
    mine[#mine + 1] = KEYS[i]
    out[i] = 'd'
  elseif held[i] then
    out[i] = 'o'
  else
    out[i] = 'm'
  end
end
if #mine > 0 then redis.call('DEL', unpack(mine)) end
return table.concat(out)
