-- name: ActAsApp :exec
-- Begins each transaction on customers' rows: whoever has logged in, and whatever the connection was made to do before,
-- row-level security holds for it.
SELECT set_config('role', 'starling_app', true), set_config('app.platform', '', true);

-- name: SetTenant :exec
SELECT set_config('app.tenant_id', @tenant_id::text, true);

-- name: OpenGroup :one
-- A group commit finds rows by key alone, one at a time. Its plans are kept by the session: one that was made while a
-- table was young must not read it whole when it has grown.
SELECT set_config('app.tenant_id', @tenant_id::text, true) AS tenant_id, set_config('enable_seqscan', 'off', true) AS seqscan,
    pg_current_xact_id()::text AS xid;

-- name: SetPlatform :exec
SELECT set_config('app.platform', 'on', true);

-- name: Fence :one
-- KEY SHARE lets renewals of the lease pass and makes a taker, who locks FOR UPDATE, wait for this group's end.
SELECT incarnation FROM shard_incarnations
WHERE tenant_id = @tenant_id AND warehouse_id = @warehouse_id FOR KEY SHARE;

-- name: XactStatus :one
SELECT coalesce(pg_xact_status((@xid::text)::xid8), 'unknown')::text AS status;

-- name: RecordedEvents :many
SELECT o.event_id FROM outbox_events o WHERE o.event_id = ANY(@event_ids::uuid[])
UNION
SELECT t.event_id FROM task_events t WHERE t.tenant_id = @tenant_id AND t.event_id = ANY(@event_ids::uuid[]);

-- name: CreateTasks :many
WITH input AS MATERIALIZED (
    SELECT unnest(@task_ids::uuid[]) AS task_id, unnest(@task_types::text[]) AS task_type,
        unnest(@priorities::smallint[]) AS priority, unnest(@idem_routes::text[]) AS idem_route,
        unnest(@idem_keys::text[]) AS idem_key, unnest(@fingerprints::bytea[]) AS fingerprint,
        unnest(@payloads::text[]) AS payload, unnest(@errands::text[]) AS errands,
        unnest(@wanted_robots::text[]) AS wanted_robot, unnest(@fleets::text[]) AS fleet,
        unnest(@sources::text[]) AS source, unnest(@users::text[]) AS created_by,
        unnest(@earliest::timestamptz[]) AS earliest, unnest(@deadlines::timestamptz[]) AS deadline,
        unnest(@created_ats::timestamptz[]) AS created_at, unnest(@updated_ats::timestamptz[]) AS updated_at
)
INSERT INTO tasks (task_id, tenant_id, warehouse_id, task_type, status, priority, idempotency_key,
    idempotency_fingerprint, payload, errands, wanted_robot_id, fleet, source, created_by_user_id, earliest_start,
    deadline, created_at, updated_at, version)
SELECT i.task_id, @tenant_id::uuid, @warehouse_id::uuid, i.task_type, 'CREATED', i.priority, nullif(i.idem_key, ''),
    CASE WHEN i.idem_key = '' THEN NULL ELSE i.fingerprint END, i.payload::json, i.errands::jsonb,
    nullif(i.wanted_robot, '')::uuid, i.fleet, i.source, nullif(i.created_by, '')::uuid,
    nullif(i.earliest, '0001-01-01 00:00:00+00'), nullif(i.deadline, '0001-01-01 00:00:00+00'), i.created_at,
    i.updated_at, 1
FROM input i
WHERE i.idem_key = '' OR (
    SELECT count(*) FROM idempotency_keys k
    WHERE k.tenant_id = @tenant_id::uuid AND k.route = i.idem_route AND k.key = i.idem_key) = 0
ON CONFLICT DO NOTHING
RETURNING task_id;

-- name: MoveTask :batchone
-- One statement a task, many in a pipeline: joined to a list, a young table is read whole by a plan that is kept.
UPDATE tasks t SET
    status = CASE WHEN @status::text = '' THEN t.status ELSE @status::text END,
    robot_id = CASE WHEN @set_robot::boolean THEN nullif(@robot::text, '')::uuid ELSE t.robot_id END,
    errand = CASE WHEN @errand::integer < 0 THEN t.errand ELSE @errand::integer END,
    reason = CASE WHEN @set_reason::boolean THEN @reason::text ELSE t.reason END,
    awards = t.awards + @awards::integer,
    assigned_at = coalesce(sqlc.narg('assigned_at'), t.assigned_at),
    started_at = coalesce(t.started_at, sqlc.narg('started_at')),
    finished_at = coalesce(sqlc.narg('finished_at'), t.finished_at),
    updated_at = @updated_at,
    version = @to_version
WHERE t.tenant_id = @tenant_id AND t.task_id = @task_id AND t.version = @from_version
RETURNING (
    SELECT x.status FROM tasks x WHERE x.tenant_id = t.tenant_id AND x.task_id = t.task_id)::text AS old_status; -- by the snapshot

-- name: InsertTaskEvents :exec
INSERT INTO task_events (event_id, tenant_id, task_id, seq, event_type, from_status, to_status, occurred_at,
    actor_user_id, actor_part, payload, traceparent)
SELECT i.event_id, @tenant_id::uuid, i.task_id, i.seq, i.event_type, nullif(i.from_status, ''), i.to_status,
    i.occurred_at, nullif(i.actor_user, '')::uuid, i.actor_part, i.payload::jsonb, i.trace
FROM (
    SELECT unnest(@event_ids::uuid[]) AS event_id, unnest(@task_ids::uuid[]) AS task_id,
        unnest(@seqs::bigint[]) AS seq, unnest(@types::text[]) AS event_type, unnest(@froms::text[]) AS from_status,
        unnest(@tos::text[]) AS to_status, unnest(@ats::timestamptz[]) AS occurred_at,
        unnest(@users::text[]) AS actor_user, unnest(@parts::text[]) AS actor_part,
        unnest(@payloads::text[]) AS payload, unnest(@traces::text[]) AS trace
) i;

-- name: InsertDecisions :exec
INSERT INTO decisions (decision_id, tenant_id, warehouse_id, decided_at, kind, task_id, robot_id, inputs_digest,
    assignments, alternatives, reason)
SELECT i.decision_id, @tenant_id::uuid, @warehouse_id::uuid, i.decided_at, i.kind, nullif(i.task, '')::uuid,
    nullif(i.robot, '')::uuid, i.digest, i.assignments::jsonb, i.alternatives::jsonb, i.reason
FROM (
    SELECT unnest(@decision_ids::uuid[]) AS decision_id, unnest(@ats::timestamptz[]) AS decided_at,
        unnest(@kinds::text[]) AS kind, unnest(@tasks::text[]) AS task, unnest(@robots::text[]) AS robot,
        unnest(@digests::text[]) AS digest, unnest(@assignments::text[]) AS assignments,
        unnest(@alternatives::text[]) AS alternatives, unnest(@reasons::text[]) AS reason
) i;

-- name: InsertOutbox :exec
INSERT INTO outbox_events (event_id, tenant_id, aggregate_type, aggregate_id, topic, key, payload, headers, shard)
SELECT i.event_id, @tenant_id::uuid, i.aggregate_type, i.aggregate_id, i.topic, i.key, i.payload, i.headers::jsonb,
    i.shard
FROM (
    SELECT unnest(@event_ids::uuid[]) AS event_id, unnest(@aggregate_types::text[]) AS aggregate_type,
        unnest(@aggregate_ids::uuid[]) AS aggregate_id, unnest(@topics::text[]) AS topic, unnest(@keys::text[]) AS key,
        unnest(@payloads::bytea[]) AS payload, unnest(@headers::text[]) AS headers,
        unnest(@shards::smallint[]) AS shard
) i;

-- name: InsertKeys :exec
INSERT INTO idempotency_keys (tenant_id, route, key, fingerprint, status, headers, body)
SELECT @tenant_id::uuid, i.route, i.key, i.fingerprint, i.status, i.headers::jsonb, i.body
FROM (
    SELECT unnest(@routes::text[]) AS route, unnest(@keys::text[]) AS key, unnest(@fingerprints::bytea[]) AS fingerprint,
        unnest(@statuses::integer[]) AS status, unnest(@headers::text[]) AS headers, unnest(@bodies::bytea[]) AS body
) i;

-- name: TaskByKey :one
SELECT task_id, idempotency_fingerprint FROM tasks WHERE tenant_id = @tenant_id AND idempotency_key = @key;

-- name: LockKey :exec
-- Two requests with the same key, on whichever sides of midnight, wait for each other.
SELECT pg_advisory_xact_lock(hashtextextended(@tenant_id::text || ' ' || @route::text || ' ' || @key::text, 7));

-- name: FirstAnswer :one
SELECT fingerprint, status, headers, body FROM idempotency_keys
WHERE tenant_id = @tenant_id AND route = @route AND key = @key ORDER BY day LIMIT 1;

-- name: EnterRoster :exec
INSERT INTO zone_roster (tenant_id, warehouse_id, zone_id, robot_id, entered_at, vertex, position_at, speed_mps,
    window_size, map_id, map_version)
SELECT @tenant_id::uuid, @warehouse_id::uuid, i.zone_id, i.robot_id, i.entered_at, i.vertex, i.position_at, i.speed,
    i.window_size, nullif(i.map_id, '')::uuid, i.map_version
FROM (
    SELECT unnest(@zone_ids::uuid[]) AS zone_id, unnest(@robot_ids::uuid[]) AS robot_id,
        unnest(@entered_ats::timestamptz[]) AS entered_at, unnest(@vertices::integer[]) AS vertex,
        unnest(@position_ats::timestamptz[]) AS position_at, unnest(@speeds::double precision[]) AS speed,
        unnest(@windows::integer[]) AS window_size, unnest(@map_ids::text[]) AS map_id,
        unnest(@map_versions::integer[]) AS map_version
) i
ON CONFLICT (tenant_id, warehouse_id, zone_id, robot_id) DO UPDATE SET
    entered_at = excluded.entered_at, vertex = excluded.vertex, position_at = excluded.position_at,
    speed_mps = excluded.speed_mps, window_size = excluded.window_size, map_id = excluded.map_id,
    map_version = excluded.map_version;

-- name: InheritRoster :exec
-- Whoever is in a zone of the former map may be in each zone that has its vertices now, nobody knows where.
INSERT INTO zone_roster (tenant_id, warehouse_id, zone_id, robot_id, entered_at, vertex, position_at, speed_mps,
    window_size)
SELECT DISTINCT ON (h.heir, r.robot_id) r.tenant_id, r.warehouse_id, h.heir, r.robot_id, @at::timestamptz, -1,
    r.position_at, r.speed_mps, r.window_size
FROM zone_roster r
JOIN (SELECT unnest(@zones::uuid[]) AS zone, unnest(@heirs::uuid[]) AS heir) h ON h.zone = r.zone_id
WHERE r.tenant_id = @tenant_id AND r.warehouse_id = @warehouse_id
ON CONFLICT (tenant_id, warehouse_id, zone_id, robot_id) DO NOTHING;

-- name: EndRoster :exec
DELETE FROM zone_roster WHERE tenant_id = @tenant_id AND warehouse_id = @warehouse_id AND zone_id = ANY(@zones::uuid[]);

-- name: LeaveRoster :exec
DELETE FROM zone_roster
WHERE tenant_id = @tenant_id AND warehouse_id = @warehouse_id AND zone_id = @zone_id AND robot_id = @robot_id;

-- name: ChangeConnection :batchone
UPDATE robots SET connection = @connection, connection_at = @at
WHERE tenant_id = @tenant_id AND robot_id = @robot_id AND coalesce(warehouse_id = @warehouse_id::uuid, false) -- by the key alone
  AND removed_at IS NULL
RETURNING robot_id;

-- name: RegisterRobot :one
-- No row = another version stands there. A code in use breaks the unique rule.
INSERT INTO robots (robot_id, tenant_id, warehouse_id, robot_code, display_name, fleet, model, protocol, capabilities,
    allowed_zones, priority, control, footprint_radius_m, max_speed_mps, version, created_at, updated_at)
VALUES (@robot_id, @tenant_id, @warehouse_id, @robot_code, @display_name, @fleet, @model, @protocol, @capabilities,
    @allowed_zones, @priority, @control, @footprint_radius_m, @max_speed_mps, @version, @created_at, @updated_at)
ON CONFLICT (tenant_id, robot_id) DO UPDATE SET
    warehouse_id = excluded.warehouse_id, robot_code = excluded.robot_code, display_name = excluded.display_name,
    fleet = excluded.fleet, model = excluded.model, protocol = excluded.protocol, capabilities = excluded.capabilities,
    allowed_zones = excluded.allowed_zones, priority = excluded.priority, control = excluded.control,
    footprint_radius_m = excluded.footprint_radius_m, max_speed_mps = excluded.max_speed_mps,
    version = excluded.version, created_at = excluded.created_at, updated_at = excluded.updated_at, removed_at = NULL
WHERE robots.version = excluded.version - 1
RETURNING robot_id;

-- name: RemoveRobot :one
UPDATE robots SET removed_at = @at, updated_at = @at, version = @version
WHERE tenant_id = @tenant_id AND robot_id = @robot_id AND version + 1 = @version AND removed_at IS NULL
RETURNING robot_id;

-- name: AcceptCommand :exec
INSERT INTO commands (command_id, tenant_id, robot_id, command, args, expires_at, accepted_at, actor_user_id, traceparent)
VALUES (@command_id, @tenant_id, @robot_id, @command, @args, @expires_at, @accepted_at, @actor_user_id, @traceparent)
ON CONFLICT DO NOTHING; -- the same command, recorded again

-- name: StageCommand :one
UPDATE commands SET
    sent_at = CASE WHEN @stage::text = 'sent' THEN @at::timestamptz ELSE sent_at END,
    acknowledged_at = CASE WHEN @stage::text = 'acknowledged' THEN @at::timestamptz ELSE acknowledged_at END,
    done_at = CASE WHEN @stage::text = 'done' THEN @at::timestamptz ELSE done_at END,
    failed_at = CASE WHEN @stage::text = 'failed' THEN @at::timestamptz ELSE failed_at END,
    expired_at = CASE WHEN @stage::text = 'expired' THEN @at::timestamptz ELSE expired_at END,
    reason = CASE WHEN @reason::text = '' THEN reason ELSE @reason::text END
WHERE tenant_id = @tenant_id AND command_id = @command_id AND coalesce(robot_id = @robot_id::uuid, false)
RETURNING command_id;

-- name: RetireMaps :exec
UPDATE map_versions SET status = 'RETIRED'
WHERE tenant_id = @tenant_id AND warehouse_id = @warehouse_id AND status = 'ACTIVE'
  AND NOT (map_id = @map_id AND version = @version);

-- name: ActivateMap :one
UPDATE map_versions SET status = 'ACTIVE', activated_at = @at
WHERE tenant_id = @tenant_id AND map_id = @map_id AND version = @version AND coalesce(warehouse_id = @warehouse_id::uuid, false)
RETURNING version;

-- name: TouchMap :exec
UPDATE maps SET revision = revision + 1 WHERE tenant_id = @tenant_id AND map_id = @map_id;

-- name: ChangeLane :one
-- All versions of the lane: what an operator closed stays closed over an activation.
WITH changed AS (
    UPDATE lanes SET run_closed = @closed, run_speed_mps = @speed_mps, run_reason = @reason, changed_at = @at,
        changed_by_user_id = @user_id
    WHERE tenant_id = @tenant_id AND lane_id = @lane_id
    RETURNING map_id
)
SELECT map_id FROM changed LIMIT 1;
