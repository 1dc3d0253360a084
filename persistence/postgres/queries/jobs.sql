-- name: StuckTasks :many
-- Of all tenants, as the worker: open tasks that do not get on. Paged by the key.
SELECT t.tenant_id, t.warehouse_id, t.task_id, t.robot_id, t.status, t.version,
    CASE WHEN t.status <> 'CREATED' AND (r.removed_at IS NOT NULL OR r.robot_id IS NULL
            OR r.connection = 'OFFLINE' AND r.connection_at < now() - make_interval(secs => @robot_seconds::double precision)) THEN 'robot_gone'
        WHEN t.status = 'CANCELLING' AND t.updated_at < now() - make_interval(secs => @cancel_seconds::double precision) THEN 'cancel'
        ELSE 'deadline' END::text AS cause,
    coalesce(CASE WHEN t.deadline < now() THEN t.deadline END, t.updated_at)::timestamptz AS since_at
FROM tasks t LEFT JOIN robots r ON r.tenant_id = t.tenant_id AND r.robot_id = t.robot_id
WHERE t.status IN ('CREATED', 'ASSIGNED', 'EXECUTING', 'CANCELLING')
  AND (t.tenant_id, t.task_id) > (@after_tenant::uuid, @after_id::uuid)
  AND (t.deadline < now() - make_interval(secs => @deadline_seconds::double precision)
    OR t.status <> 'CREATED' AND (r.removed_at IS NOT NULL OR r.robot_id IS NULL
        OR r.connection = 'OFFLINE' AND r.connection_at < now() - make_interval(secs => @robot_seconds::double precision))
    OR t.status = 'CANCELLING' AND t.updated_at < now() - make_interval(secs => @cancel_seconds::double precision))
ORDER BY t.tenant_id, t.task_id LIMIT @page_size;

-- name: IdleShards :many
-- Of all tenants, as the worker: shards with open tasks that are due, and no owner who renews its lease.
SELECT t.tenant_id, t.warehouse_id, count(*)::integer AS tasks, min(greatest(t.created_at, t.earliest_start))::timestamptz AS due
FROM tasks t LEFT JOIN shard_incarnations s ON s.tenant_id = t.tenant_id AND s.warehouse_id = t.warehouse_id
WHERE t.status IN ('CREATED', 'ASSIGNED', 'EXECUTING', 'CANCELLING')
  AND (t.status <> 'CREATED' OR t.earliest_start IS NULL OR t.earliest_start < now() + make_interval(secs => @ahead_seconds::double precision))
  AND (s.renewed_at IS NULL OR s.renewed_at < now() - make_interval(secs => @lease_seconds::double precision))
GROUP BY t.tenant_id, t.warehouse_id ORDER BY due LIMIT @page_size;

-- name: StaleRobots :many
-- Of all tenants, as the worker: robots that count as connected and have not reported for long. Paged by the key.
SELECT r.tenant_id, r.warehouse_id, r.robot_id, coalesce(r.reported_at, r.connection_at)::timestamptz AS last FROM robots r
WHERE r.removed_at IS NULL AND r.connection IN ('ONLINE', 'STALE')
  AND (r.tenant_id, r.robot_id) > (@after_tenant::uuid, @after_id::uuid)
  AND coalesce(r.reported_at, r.connection_at) < now() - make_interval(secs => @silent_seconds::double precision)
ORDER BY r.tenant_id, r.robot_id LIMIT @page_size;

-- name: BusyShards :many
-- Of all tenants, as the worker: shards with open tasks.
SELECT DISTINCT t.tenant_id, t.warehouse_id FROM tasks t
WHERE t.status IN ('CREATED', 'ASSIGNED', 'EXECUTING', 'CANCELLING') ORDER BY t.tenant_id, t.warehouse_id LIMIT @page_size;

-- name: ShardOwner :one
-- As the worker: who owns a shard, and for how long its lease has not been renewed.
SELECT s.owner, coalesce(extract(epoch FROM clock_timestamp() - s.renewed_at), -1)::double precision AS age_seconds FROM shard_incarnations s
WHERE s.tenant_id = @tenant_id AND s.warehouse_id = @warehouse_id;

-- name: Contradictions :many
-- What the rows of a shard's open tasks say that cannot be: a version that is not the last event's, two tasks under way
-- for one robot, a task under way for no robot.
SELECT 'version_gap'::text AS kind, t.task_id, t.robot_id,
    format('row %s v%s, last event %s v%s', t.status, t.version, e.to_status, e.seq)::text AS detail
FROM tasks t LEFT JOIN LATERAL (
    SELECT x.seq, x.to_status FROM task_events x WHERE x.tenant_id = t.tenant_id AND x.task_id = t.task_id
    ORDER BY x.occurred_at DESC, x.seq DESC LIMIT 1) e ON true
WHERE t.tenant_id = @tenant_id AND t.warehouse_id = @warehouse_id AND t.status IN ('CREATED', 'ASSIGNED', 'EXECUTING', 'CANCELLING')
  AND (e.seq IS DISTINCT FROM t.version OR e.to_status IS DISTINCT FROM t.status)
UNION ALL
SELECT 'two_tasks', min(t.task_id::text)::uuid, t.robot_id, format('%s tasks under way', count(*))
FROM tasks t
WHERE t.tenant_id = @tenant_id AND t.warehouse_id = @warehouse_id AND t.status IN ('ASSIGNED', 'EXECUTING', 'CANCELLING') AND t.robot_id IS NOT NULL
GROUP BY t.robot_id HAVING count(*) > 1
UNION ALL
SELECT 'robot_absent', t.task_id, t.robot_id, format('%s, and its robot is removed or none', t.status)
FROM tasks t LEFT JOIN robots r ON r.tenant_id = t.tenant_id AND r.robot_id = t.robot_id AND r.removed_at IS NULL
WHERE t.tenant_id = @tenant_id AND t.warehouse_id = @warehouse_id AND t.status IN ('ASSIGNED', 'EXECUTING', 'CANCELLING') AND r.robot_id IS NULL
LIMIT @page_size;

-- name: OpenTasks :many
SELECT t.task_id, t.status, t.robot_id, t.version FROM tasks t
WHERE t.tenant_id = @tenant_id AND t.warehouse_id = @warehouse_id AND t.status IN ('CREATED', 'ASSIGNED', 'EXECUTING', 'CANCELLING')
ORDER BY t.created_at, t.task_id LIMIT @page_size;

-- name: TasksNow :many
SELECT t.task_id, t.status, t.robot_id, t.version FROM tasks t
WHERE t.tenant_id = @tenant_id AND t.task_id = ANY(@task_ids::uuid[]) ORDER BY t.task_id;

-- name: ForgetSent :one
-- As the worker.
SELECT forget_outbox(@days::integer)::integer AS gone;

-- name: ForgetInbox :execrows
-- Of all tenants, as the worker: some of the oldest events that a consumer has remembered for long enough.
DELETE FROM inbox_events i WHERE (i.consumer, i.event_id) IN (
    SELECT x.consumer, x.event_id FROM inbox_events x WHERE x.processed_at < @processed_before::timestamptz ORDER BY x.processed_at LIMIT @page_size);

-- name: RememberEvents :many
-- The events that the consumer has not seen before; it has from now on.
INSERT INTO inbox_events (tenant_id, consumer, event_id)
SELECT @tenant_id::uuid, @consumer::text, unnest(@event_ids::uuid[])
ON CONFLICT DO NOTHING RETURNING event_id;

-- name: LoadTimings :many
SELECT * FROM task_timing WHERE tenant_id = @tenant_id AND task_id = ANY(@task_ids::uuid[]) ORDER BY task_id FOR UPDATE;

-- name: SaveTimings :execrows
INSERT INTO task_timing AS t (task_id, tenant_id, warehouse_id, task_type, robot_id, fleet, priority, version, phase, phase_at, created_at, due_at,
    deadline, assigned_at, started_at, finished_at, awards, errands, delayed_ms, waiting_ms, approach_ms, executing_ms, cancelling_ms)
SELECT i.task_id, @tenant_id::uuid, i.warehouse_id, i.task_type, i.robot_id, i.fleet, i.priority, i.version, i.phase, i.phase_at, i.created_at, i.due_at,
    i.deadline, i.assigned_at, i.started_at, i.finished_at, i.awards, i.errands, i.delayed_ms, i.waiting_ms, i.approach_ms, i.executing_ms, i.cancelling_ms
FROM jsonb_to_recordset(@timings::jsonb) AS i (task_id uuid, warehouse_id uuid, task_type text, robot_id uuid, fleet text, priority smallint,
    version bigint, phase text, phase_at timestamptz, created_at timestamptz, due_at timestamptz, deadline timestamptz, assigned_at timestamptz,
    started_at timestamptz, finished_at timestamptz, awards integer, errands integer, delayed_ms bigint, waiting_ms bigint, approach_ms bigint,
    executing_ms bigint, cancelling_ms bigint)
ON CONFLICT (tenant_id, task_id) DO UPDATE SET robot_id = excluded.robot_id, version = excluded.version, phase = excluded.phase, phase_at = excluded.phase_at,
    assigned_at = excluded.assigned_at, started_at = excluded.started_at, finished_at = excluded.finished_at, awards = excluded.awards,
    errands = excluded.errands, delayed_ms = excluded.delayed_ms, waiting_ms = excluded.waiting_ms, approach_ms = excluded.approach_ms,
    executing_ms = excluded.executing_ms, cancelling_ms = excluded.cancelling_ms
WHERE t.version < excluded.version;

-- name: GetTiming :one
SELECT * FROM task_timing WHERE tenant_id = @tenant_id AND task_id = @task_id;
