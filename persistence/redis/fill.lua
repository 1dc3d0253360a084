-- Takes stored views into a hash as far as there are none yet, or older ones: what is live has a higher rank. Keys and
-- values as in show.lua. ARGV: ttl in ms, warehouse, "1" = these are the last, the hash is whole now, incarnation of the
-- filler (0 = none: it does not own the shard), a new life for a hash that was not whole, then triples of id, rank, body. Answers how many were written.
local key, written = KEYS[1], 0
for i = 6, #ARGV, 3 do
	local id, rank = ARGV[i], ARGV[i + 1]
	local was = redis.call('HGET', key, id)
	if not was or string.sub(was, 1, 32) < rank then -- digits alone: their order is that of the numbers in any locale
		redis.call('HSET', key, id, rank .. ARGV[i + 2])
		written = written + 1
	end
end
if ARGV[3] == '1' then
	local mark = redis.call('HGET', key, '=')
	local mine, life = tonumber(ARGV[4]), ARGV[5]
	if mark then
		mine, life = math.max(mine, tonumber(string.sub(mark, 1, 16))), string.sub(mark, 33)
	end
	local t = redis.call('TIME')
	redis.call('HSET', key, '=', string.format('%016.0f%016.0f', mine, tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)) .. life)
end
redis.call('PEXPIRE', key, ARGV[1])
redis.call('SADD', KEYS[2], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return written
