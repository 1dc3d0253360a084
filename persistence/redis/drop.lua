-- Removes entries of a hash that have not changed since somebody looked. KEYS[1]: as in show.lua. ARGV: pairs of id and
-- the rank that was seen. Answers how many went.
local gone = 0
for i = 1, #ARGV, 2 do
	local was = redis.call('HGET', KEYS[1], ARGV[i])
	if was and string.sub(was, 1, 32) == ARGV[i + 1] then
		redis.call('HDEL', KEYS[1], ARGV[i])
		gone = gone + 1
	end
end
return gone
