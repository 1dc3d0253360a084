-- name: RaiseFence :one
-- The highest token that was ever raised, which is the given one unless somebody else had a higher one. It waits for the
-- writes under way that were decided under the token before.
INSERT INTO lock_fences (tenant_id, warehouse_id, name, token, holder)
VALUES (@tenant_id, @warehouse_id, @name, @token, @holder)
ON CONFLICT (tenant_id, warehouse_id, name) DO UPDATE SET
    token = greatest(lock_fences.token, excluded.token),
    holder = CASE WHEN excluded.token > lock_fences.token THEN excluded.holder ELSE lock_fences.holder END,
    raised_at = CASE WHEN excluded.token > lock_fences.token THEN now() ELSE lock_fences.raised_at END
RETURNING token;

-- name: CheckFence :one
-- SHARE makes whoever raises it wait for this transaction's end, and lets others check.
SELECT token FROM lock_fences
WHERE tenant_id = @tenant_id AND warehouse_id = @warehouse_id AND name = @name FOR SHARE;
