-- Takes a lock, or renews it. KEYS[1]: "<token> <rank> <owner>". KEYS[2]: the highest token that was given. ARGV: owner,
-- rank, ttl in ms, floor (the token is higher), the token that the caller had last (0 = none), how long KEYS[2] lives (ms).
-- A free lock that nobody has had since keeps its token; any other taking gets a higher one than all before, which is the
-- time in microseconds where that is more, so that it rises also when all is lost. A higher rank takes the lock away.
-- Answers 1 and the token, or 0, the holder's token, and for how many ms it is still held.
local was, counter = redis.call('GET', KEYS[1]), tonumber(redis.call('GET', KEYS[2]) or 0) or 0
local rank, floor, mine = tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
local token
if was then
	local held, by, owner = string.match(was, '^(%d+) (%d+) (.*)$')
	if owner == ARGV[1] and tonumber(held) > floor then
		token = tonumber(held)
	elseif held and owner ~= ARGV[1] and tonumber(by) >= rank then
		return { 0, held, redis.call('PTTL', KEYS[1]) }
	end
elseif mine > floor and mine >= counter then
	token = mine
end
if not token then
	local t = redis.call('TIME')
	token = math.max(counter, floor, tonumber(t[1]) * 1000000 + tonumber(t[2])) + 1
end
local text = string.format('%.0f', token)
redis.call('SET', KEYS[1], text .. ' ' .. string.format('%.0f', rank) .. ' ' .. ARGV[1], 'PX', ARGV[3])
redis.call('SET', KEYS[2], text, 'PX', ARGV[6])
return { 1, text, 0 }
