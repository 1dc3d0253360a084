-- name: HookedTenants :many
-- Of all tenants, for the platform: those whose settings name receivers.
SELECT tenant_id FROM tenants WHERE jsonb_typeof(settings -> 'webhooks') = 'object' AND settings -> 'webhooks' <> '{}' ORDER BY tenant_id LIMIT @page_size;

-- name: NoteHook :exec
-- A receiver that is new, or is another one, is told of what happens from now on.
INSERT INTO webhook_hooks (tenant_id, hook, fingerprint) VALUES (@tenant_id, @hook, @fingerprint)
ON CONFLICT (tenant_id, hook) DO UPDATE SET fingerprint = EXCLUDED.fingerprint, since = now(), looked_at = now(), failures = 0, disabled_at = NULL
WHERE webhook_hooks.fingerprint <> EXCLUDED.fingerprint;

-- name: HookStates :many
SELECT * FROM webhook_hooks WHERE tenant_id = @tenant_id ORDER BY hook;

-- name: UntoldSteps :many
-- Steps that a receiver has no delivery of, the oldest first. What was committed late is found for a while.
SELECT h.handling_id, h.alert_id, h.seq FROM webhook_hooks w
JOIN alert_handling h ON h.tenant_id = w.tenant_id AND h.occurred_at >= greatest(w.since, w.looked_at - make_interval(secs => @overlap_seconds::double precision))
JOIN alerts a ON a.tenant_id = h.tenant_id AND a.alert_id = h.alert_id
WHERE w.tenant_id = @tenant_id AND w.hook = @hook AND w.disabled_at IS NULL
  AND a.peak >= @min_level AND (a.subject_kind IN ('zone', 'lane')) = ANY (@jams::boolean[])
  AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.tenant_id = h.tenant_id AND d.hook = w.hook AND d.handling_id = h.handling_id)
ORDER BY h.occurred_at, h.alert_id, h.seq LIMIT @page_size;

-- name: HookLooked :exec
UPDATE webhook_hooks SET looked_at = @looked_at WHERE tenant_id = @tenant_id AND hook = @hook AND looked_at < @looked_at;

-- name: AddDelivery :execrows
INSERT INTO webhook_deliveries (tenant_id, delivery_id, hook, handling_id, alert_id, event, body, state)
VALUES (@tenant_id, @delivery_id, @hook, @handling_id, @alert_id, @event, @body, 'pending') ON CONFLICT DO NOTHING;

-- name: DueDeliveries :many
SELECT delivery_id, hook FROM webhook_deliveries
WHERE tenant_id = @tenant_id AND state = 'pending' AND next_at <= now() ORDER BY next_at LIMIT @page_size;

-- name: GetDelivery :one
SELECT * FROM webhook_deliveries WHERE tenant_id = @tenant_id AND delivery_id = @delivery_id;

-- name: ListDeliveries :many
SELECT tenant_id, delivery_id, hook, handling_id, alert_id, event, state, attempts, next_at, status, cause, created_at, done_at FROM webhook_deliveries
WHERE tenant_id = @tenant_id AND (created_at, delivery_id) < (@before_at::timestamptz, @before_id::uuid)
  AND (@hook::text = '' OR hook = @hook::text) AND (@state::text = '' OR state = @state::text)
ORDER BY created_at DESC, delivery_id DESC LIMIT @page_size;

-- name: TriedDelivery :execrows
-- What a try has brought; one that has been dealt with meanwhile stays as it is.
UPDATE webhook_deliveries SET state = @state, attempts = attempts + 1, status = @status, cause = @cause,
    next_at = now() + make_interval(secs => @again_seconds::double precision), done_at = CASE WHEN @state::text = 'pending' THEN NULL ELSE now() END
WHERE tenant_id = @tenant_id AND delivery_id = @delivery_id AND state = 'pending';

-- name: DropDelivery :exec
UPDATE webhook_deliveries SET state = 'dropped', cause = @cause, done_at = now() WHERE tenant_id = @tenant_id AND delivery_id = @delivery_id AND state = 'pending';

-- name: RetryDelivery :execrows
UPDATE webhook_deliveries SET state = 'pending', attempts = 0, next_at = now(), done_at = NULL
WHERE tenant_id = @tenant_id AND delivery_id = @delivery_id AND state IN ('dead', 'dropped');

-- name: HookServed :exec
UPDATE webhook_hooks SET failures = 0, last_sent_at = now() WHERE tenant_id = @tenant_id AND hook = @hook;

-- name: HookFailed :exec
UPDATE webhook_hooks SET failures = failures + 1, disabled_at = CASE WHEN @gone::boolean OR failures + 1 >= @most::integer THEN coalesce(disabled_at, now()) ELSE disabled_at END
WHERE tenant_id = @tenant_id AND hook = @hook;

-- name: EnableHook :exec
UPDATE webhook_hooks SET failures = 0, disabled_at = NULL, since = now(), looked_at = now() WHERE tenant_id = @tenant_id AND hook = @hook AND disabled_at IS NOT NULL;

-- name: ForgetDeliveries :execrows
DELETE FROM webhook_deliveries WHERE (tenant_id, delivery_id) IN (
    SELECT d.tenant_id, d.delivery_id FROM webhook_deliveries d WHERE d.tenant_id = @tenant_id AND d.state <> 'pending'
      AND d.created_at < now() - make_interval(secs => @older_seconds::double precision) ORDER BY d.created_at LIMIT @page_size);
