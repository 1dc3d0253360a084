-- All entries of a hash, unless there are more than ARGV[1]. KEYS[1]: as in show.lua. Answers how old the hash's last sign
-- of life is in ms (-1 = it is not whole), how many entries it has, and the entries where they are not too many.
local n = redis.call('HLEN', KEYS[1])
local age = -1
local mark = redis.call('HGET', KEYS[1], '=')
if mark then
	local t = redis.call('TIME')
	age = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000) - tonumber(string.sub(mark, 17, 32))
	if age < 0 then
		age = 0
	end
	n = n - 1
end
if n > tonumber(ARGV[1]) then
	return { age, n, {} }
end
return { age, n, redis.call('HGETALL', KEYS[1]) }
