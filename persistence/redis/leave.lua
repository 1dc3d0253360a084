-- Gives back a lock that is still the caller's. KEYS[1]: the lock. ARGV: token.
if redis.call('GET', KEYS[1]) == ARGV[1] then
	return redis.call('DEL', KEYS[1])
end
return 0
