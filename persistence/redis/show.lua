-- Takes newer views into a hash of a shard; what is older than what is there is left out.
-- KEYS[1]: hash id -> "<incarnation, 16 digits><number, 16 digits><body>"; the field "=" is "<incarnation, 16 digits><time in
-- ms, 16 digits><life>" and is there where the hash is whole; the life is a new one each time the hash was made whole anew. KEYS[2]: set of the tenant's warehouses that have views.
-- ARGV: incarnation of the writer, ttl in ms, warehouse, then triples of id, rank (the 32 digits), body.
-- Answers 1 (-1 = a newer owner writes here: nothing was taken), how many were written, how many were older, and the life
-- ("" = the hash is not whole).
local key = KEYS[1]
local mine = tonumber(ARGV[1])
local mark = redis.call('HGET', key, '=')
if mark and tonumber(string.sub(mark, 1, 16)) > mine then
	return { -1, 0, 0, '' }
end
local written, older = 0, 0
for i = 4, #ARGV, 3 do
	local id, rank = ARGV[i], ARGV[i + 1]
	local was = redis.call('HGET', key, id)
	if not was or string.sub(was, 1, 32) < rank then -- digits alone: their order is that of the numbers in any locale
		redis.call('HSET', key, id, rank .. ARGV[i + 2])
		written = written + 1
	else
		older = older + 1
	end
end
local life = ''
if mark then
	life = string.sub(mark, 33)
	local t = redis.call('TIME')
	redis.call('HSET', key, '=', string.format('%016.0f%016.0f', mine, tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)) .. life)
end
redis.call('PEXPIRE', key, ARGV[2])
redis.call('SADD', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return { 1, written, older, life }
