-- Releases all locks that one token holds in their modes.
-- KEYS: the locks. ARGV: the owner's token.
-- One letter: d all were held, m one was missing, o one was another's. What was held is released
-- in any case. A key of several owners then lives as long as the last entry that is left.
local token, letter = ARGV[1] or '', 'd'
for i = 1, #KEYS do
  local key = KEYS[i]
  local kind = redis.call('TYPE', key).ok
  if kind == 'string' and redis.call('GET', key) == token then
    redis.call('DEL', key)
  elseif kind == 'hash' and redis.call('HDEL', key, token) == 1 then
    local values, last = redis.call('HVALS', key), false
    for _, value in ipairs(values) do
      local ends = tonumber(string.match(value, '^%w+ (%d+)$'))
      last = ends and math.max(ends, last or 0) or last
    end
    if last then redis.call('PEXPIREAT', key, string.format('%.0f', last)) end
  elseif kind == 'string' then
    letter = 'o'
  elseif letter == 'd' then
    letter = 'm'
  end
end
return letter
