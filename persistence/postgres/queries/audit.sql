-- name: ScopeAudit :exec
-- The tenant of the entries that follow. Whoever holds the log shut does not hold up the writes that it is about: what
-- could not be noted with them is added when the request has been answered. Rows are found by an index, in its order: plans
-- are kept by sessions, and one that was made while the log was young must not read it whole when it has grown.
SELECT set_config('app.tenant_id', @tenant_id::text, true),
    set_config('app.platform', CASE WHEN @tenant_id::text = '00000000-0000-0000-0000-000000000000' THEN 'on' ELSE '' END, true),
    set_config('lock_timeout', (@patience_ms::integer)::text, true), set_config('enable_seqscan', 'off', true),
    set_config('enable_bitmapscan', 'off', true);

-- name: LimitStatements :exec
-- How long each statement of the transaction may take from here on.
SELECT set_config('statement_timeout', (@limit_ms::integer)::text, true);

-- name: AddAudit :execrows
-- What is there already stays as it is.
INSERT INTO audit_logs (audit_id, occurred_at, tenant_id, actor_user_id, subject, action, resource_type, resource_id,
    request_id, trace_id, method, path, status_code, duration_ms, client_ip, user_agent, details)
SELECT i.audit_id, i.occurred_at, @tenant_id::uuid, nullif(i.actor_user, '')::uuid, i.subject, i.action, i.resource_type,
    i.resource_id, i.request_id, i.trace_id, i.method, i.path, i.status_code, i.duration, nullif(i.client_ip, '')::inet,
    i.user_agent, i.details::jsonb
FROM (
    SELECT unnest(@audit_ids::uuid[]) AS audit_id, unnest(@ats::timestamptz[]) AS occurred_at,
        unnest(@users::text[]) AS actor_user, unnest(@subjects::text[]) AS subject, unnest(@actions::text[]) AS action,
        unnest(@resource_types::text[]) AS resource_type, unnest(@resource_ids::text[]) AS resource_id,
        unnest(@request_ids::text[]) AS request_id, unnest(@trace_ids::text[]) AS trace_id,
        unnest(@methods::text[]) AS method, unnest(@paths::text[]) AS path, unnest(@status_codes::integer[]) AS status_code,
        unnest(@durations::double precision[]) AS duration, unnest(@client_ips::text[]) AS client_ip,
        unnest(@user_agents::text[]) AS user_agent, unnest(@details::text[]) AS details
) i
ON CONFLICT DO NOTHING;

-- name: CompleteAudit :execrows
-- Intents alone, each once: the policy shows no others.
UPDATE audit_logs a SET status_code = i.status_code, duration_ms = i.duration,
    details = CASE WHEN i.details = '{}' THEN a.details ELSE i.details::jsonb END,
    resource_id = CASE WHEN i.resource_id = '' THEN a.resource_id ELSE i.resource_id END
FROM (
    SELECT unnest(@audit_ids::uuid[]) AS audit_id, unnest(@ats::timestamptz[]) AS occurred_at,
        unnest(@resource_ids::text[]) AS resource_id, unnest(@status_codes::integer[]) AS status_code,
        unnest(@durations::double precision[]) AS duration, unnest(@details::text[]) AS details
) i
WHERE a.tenant_id = @tenant_id AND a.audit_id = i.audit_id AND a.occurred_at = i.occurred_at AND a.status_code = 0
  AND i.status_code <> 0;

-- name: ListAudit :many
SELECT * FROM audit_logs
WHERE tenant_id = @tenant_id AND (occurred_at, audit_id) < (@before_at::timestamptz, @before_id::uuid)
  AND occurred_at <= @before_at::timestamptz -- said again: which partitions are read goes by it
  AND occurred_at >= @from_at::timestamptz AND occurred_at < @to_at::timestamptz
  AND (@subject::text = '' OR subject = @subject::text)
  AND (@actor_user::uuid = '00000000-0000-0000-0000-000000000000' OR actor_user_id = @actor_user::uuid)
  AND (@action::text = '' OR action = @action::text OR starts_with(action, @action::text || '.'))
  AND (@resource_type::text = '' OR resource_type = @resource_type::text)
  AND (@resource_id::text = '' OR resource_id = @resource_id::text)
  AND (@request_id::text = '' OR request_id = @request_id::text)
ORDER BY occurred_at DESC, audit_id DESC LIMIT @page_size;

-- name: ForgetAudit :one
SELECT forget_audit(@months::integer) AS gone;
