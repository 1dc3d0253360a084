-- How many of something each process holds. KEYS[1]: a hash process -> "<count> <end in ms>". ARGV: process, count, keep
-- (ms). Answers what the others hold that have not lapsed; the lapsed go.
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local keep = tonumber(ARGV[3])
local others, all = 0, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
	if all[i] ~= ARGV[1] then
		local n, ends = string.match(all[i + 1], '^(%d+) (%d+)$')
		if n and tonumber(ends) > now then
			others = others + tonumber(n)
		else
			redis.call('HDEL', KEYS[1], all[i])
		end
	end
end
if tonumber(ARGV[2]) > 0 then
	redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %.0f', ARGV[2], now + keep))
	redis.call('PEXPIRE', KEYS[1], keep)
else
	redis.call('HDEL', KEYS[1], ARGV[1])
end
return others
