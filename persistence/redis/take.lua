-- The generic cell rate algorithm, by the server's clock. KEYS[1] holds when all that was taken will have come back, in
-- microseconds since 2026-01-01 (so that doubles resolve a sixteenth of one for ten years). ARGV: cost, tolerance (us).
-- Answers 1 or 0, and the debt afterwards in us. The key lives as long as there is a debt.
local t = redis.call('TIME')
local now = (tonumber(t[1]) - 1767225600) * 1000000 + tonumber(t[2])
local cost, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2])
local debt = (tonumber(redis.call('GET', KEYS[1]) or 0) or 0) - now
if debt < 0 then
	debt = 0
elseif debt > tolerance then -- a smaller quota than before, or the clock was set back: nobody waits for longer than a full bucket
	debt = tolerance
end
if cost > tolerance - debt then
	return { 0, string.format('%.3f', debt) }
end
debt = debt + cost
redis.call('SET', KEYS[1], string.format('%.4f', now + debt), 'PX', math.ceil(debt / 1000) + 1000)
return { 1, string.format('%.3f', debt) }
