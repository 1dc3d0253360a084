-- Takes a lock that only saves work. KEYS[1]: the lock. ARGV: token, ttl in ms. Answers 1 where it was free, or is the
-- caller's: whoever did not hear the answer asks again.
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
	return 1
end
if redis.call('GET', KEYS[1]) == ARGV[1] then
	redis.call('PEXPIRE', KEYS[1], ARGV[2])
	return 1
end
return 0
