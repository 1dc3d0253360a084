-- Gives a lock back that is still the caller's. KEYS[1]: as in acquire.lua. ARGV: owner, token.
local was = redis.call('GET', KEYS[1])
if was then
	local held, _, owner = string.match(was, '^(%d+) (%d+) (.*)$')
	if owner == ARGV[1] and held == ARGV[2] then
		return redis.call('DEL', KEYS[1])
	end
end
return 0
