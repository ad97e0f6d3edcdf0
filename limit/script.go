package limit

// takeScript decides about one request in the store, as Rate and Quota do in memory, in one step for all who share the store.
//
// Of a rate the store keeps one string: the moment of the last request, and what was still owed then in each window, all in microseconds. Owed times
// are small numbers, so the doubles that Lua counts with are exact to far less than a nanosecond, which times since 1970 would not be. The clock is
// the server's. If it goes back, as it may when a replica takes over, nobody owes less than before.
//
// Of a quota the store keeps one number for each period. Two periods come into question, before and from the second ARGV[4]; the server's clock
// decides, so that all gateways change over at once.
//
//	KEYS[1]  the rate; KEYS[2], KEYS[3]  the quota before the boundary, and from it on
//	ARGV[1]  cost; [2] number of windows; [3] limit of the quota, 0 for none
//	ARGV[4]  boundary; [5], [6]  until when the two numbers are kept, all in seconds
//	ARGV[7…] for each window: time of one request, time of the burst, in microseconds
//	reply    verdict (1 passed, 2 refused by the rate, 3 by the quota); 0 before the boundary or 1; used; for each window: owed, in nanoseconds
const takeScript = `
local t = redis.call('TIME')
local sec = tonumber(t[1])
local now = sec * 1000000 + tonumber(t[2])
local cost, n, quota = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local verdict, which, used = 1, 0, 0
local owed, after, longest = {}, {}, 0
if n > 0 then
  local raw = redis.call('GET', KEYS[1])
  local known = raw and #raw == 8 * (n + 1)
  local elapsed = 0
  if known then elapsed = math.max(0, now - struct.unpack('<d', raw)) end
  for i = 1, n do
    local one, burst = tonumber(ARGV[5 + 2 * i]), tonumber(ARGV[6 + 2 * i])
    owed[i] = 0
    if known then owed[i] = math.max(0, struct.unpack('<d', raw, 1 + 8 * i) - elapsed) end
    after[i] = owed[i] + cost * one
    if after[i] > burst + one / 10000 then verdict = 2 end
    longest = math.max(longest, after[i])
  end
end
if quota > 0 then
  local key = KEYS[2]
  if sec >= tonumber(ARGV[4]) then which, key = 1, KEYS[3] end
  used = tonumber(redis.call('GET', key) or '0')
  if verdict == 1 then
    if used + cost > quota then
      verdict = 3
    else
      used = redis.call('INCRBY', key, ARGV[1])
      if used == cost then redis.call('EXPIREAT', key, ARGV[5 + which]) end
    end
  end
end
if verdict == 1 and n > 0 then
  local out = struct.pack('<d', now)
  for i = 1, n do
    out = out .. struct.pack('<d', after[i])
    owed[i] = after[i]
  end
  redis.call('SET', KEYS[1], out, 'PX', math.ceil(longest / 1000) + 1)
end
local reply = {verdict, which, used}
for i = 1, n do reply[3 + i] = math.floor(owed[i] * 1000 + 0.5) end
return reply
`

// beatScript tells the store that an instance is there, and counts those that were there in the last ten seconds. It is also the question that shows
// that the store works, so it writes.
//
//	KEYS[1]  the instances; ARGV[1] this one, at random; [2] 0 to leave
//	reply    number of instances; the server's clock: seconds, microseconds
const beatScript = `
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
if ARGV[2] == '0' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], now, ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 10000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + 10000, '+inf')
redis.call('PEXPIRE', KEYS[1], 20000)
return {redis.call('ZCARD', KEYS[1]), tonumber(t[1]), tonumber(t[2])}
`

// The scripts of Records. KEYS[1] is the record.

// claimScript: ARGV[1] the claim; [2] its lease in milliseconds. The reply is what was there, or nil: then the claim is.
const claimScript = `
local v = redis.call('GET', KEYS[1])
if v then return v end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
`

// keepScript: ARGV[1] the claim; [2] the value; [3] how long it is kept, in milliseconds. The reply is "1" if it is kept, "0" if there is another's.
const keepScript = `
local v = redis.call('GET', KEYS[1])
if v and v ~= ARGV[1] then return '0' end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return '1'
`

// dropScript: ARGV[1] the claim.
const dropScript = `
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return '1'
`

// renewScript: ARGV[1] the claim; [2] its lease in milliseconds.
const renewScript = `
local v = redis.call('GET', KEYS[1])
if v == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
elseif not v then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return '1'
`
