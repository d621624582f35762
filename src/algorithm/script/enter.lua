-- Queues up for a lock, or takes it when it is free and nobody is in front. Asked again, it looks.
-- KEYS: the epoch, the lock, its queue. ARGV: the epoch's id, the ticket's number, the ticket's
-- token, the ttl in ms, a reservation's life in ms, the queue's life in ms.
-- A queue is a sorted set. A member is a token and the ttl that its ticket asks for; its score is
-- the ticket's number, whose last six bits give way to when it was shown, in quarters of a second.
-- A free lock goes to the queue's head (R10): ours in full, with a ttl, another's as a reservation
-- of which its process is told, if it listens; 16 who do not are passed over, then one has it.
-- Whoever holds the lock is told that somebody waits.
-- The answer: g taken, r reserved for us before; or w (the holder knows) or d (the holder is deaf:
-- another library's, or gone) and how long the lock lives, in ms, negative if it lives on.
local lock, queue, me = KEYS[2], KEYS[3], ARGV[3]
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('EPOCH another epoch has begun')
end
local function tell(token, word)
  return redis.call('PUBLISH', 'redlatch:p:' .. string.sub(token, 1, 16), word .. lock)
end
local holder = redis.pcall('GET', lock)
if holder == me then return 'r' end
local time = redis.call('TIME')
local shown = (time[1] * 4 + math.floor(time[2] / 250000)) % 64
local score = string.format('%.0f', ARGV[2] - ARGV[2] % 64 + shown)
redis.call('ZADD', queue, score, me .. ARGV[4])
redis.call('PEXPIRE', queue, ARGV[6])
for _ = 1, 16 do
  if holder then break end
  local head = string.sub(redis.call('ZPOPMIN', queue)[1], 1, 32)
  if head == me then
    redis.call('SET', lock, me, 'PX', ARGV[4])
    return 'g'
  end
  redis.call('SET', lock, head, 'PX', ARGV[5])
  if tell(head, 'g' .. head) > 0 then holder = head end
end
local is_told = false
if type(holder) == 'string' then
  is_told = #holder == 32 and tell(holder, 'w' .. me) > 0
elseif holder then
  -- Ours of several owners: the last one to release it hands it on, as the script that drops does.
  local owner = redis.pcall('HRANDFIELD', lock)
  is_told = type(owner) == 'string' and #owner == 32
end
return (is_told and 'w' or 'd') .. redis.call('PTTL', lock)
