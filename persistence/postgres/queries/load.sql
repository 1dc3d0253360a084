-- name: GetTask :one
SELECT * FROM tasks WHERE tenant_id = @tenant_id AND task_id = @task_id;

-- name: GetTasks :many
SELECT * FROM tasks WHERE tenant_id = @tenant_id AND task_id = ANY(@task_ids::uuid[]) ORDER BY task_id;

-- name: LoadTaskEvents :many
SELECT e.seq, e.event_type, e.occurred_at, e.payload FROM task_events e
WHERE e.tenant_id = @tenant_id AND e.task_id = @task_id ORDER BY e.occurred_at, e.seq;

-- name: LoadTaskDecisions :many
SELECT * FROM decisions WHERE tenant_id = @tenant_id AND task_id = @task_id;

-- name: GetRobot :one
SELECT * FROM robots WHERE tenant_id = @tenant_id AND robot_id = @robot_id AND removed_at IS NULL;

-- name: LoadCommands :many
-- The newest ones, those that have not ended, and the last of those that pause or resume: it says whether the robot
-- is paused.
WITH newest AS (
    SELECT c.command_id FROM commands c WHERE c.tenant_id = @tenant_id AND c.robot_id = @robot_id
    ORDER BY c.accepted_at DESC, c.command_id DESC LIMIT @newest::integer
), open AS (
    SELECT c.command_id FROM commands c WHERE c.tenant_id = @tenant_id AND c.robot_id = @robot_id
      AND c.done_at IS NULL AND c.failed_at IS NULL AND c.expired_at IS NULL
), pausing AS (
    SELECT c.command_id FROM commands c WHERE c.tenant_id = @tenant_id AND c.robot_id = @robot_id
      AND c.command IN ('pause', 'resume', 'stop') AND c.expired_at IS NULL
      AND (c.failed_at IS NULL OR c.reason = @no_word)
    ORDER BY c.accepted_at DESC, c.command_id DESC LIMIT 1
)
SELECT c.* FROM commands c
WHERE c.tenant_id = @tenant_id AND c.command_id IN (
    SELECT command_id FROM newest UNION SELECT command_id FROM open UNION SELECT command_id FROM pausing)
ORDER BY c.accepted_at, c.command_id;

-- name: LoadActiveTask :one
SELECT * FROM tasks WHERE tenant_id = @tenant_id AND robot_id = @robot_id::uuid
  AND status IN ('ASSIGNED', 'EXECUTING', 'CANCELLING')
ORDER BY created_at DESC, task_id DESC LIMIT 1;

-- name: LoadRoster :many
SELECT robot_id, vertex, position_at, speed_mps, window_size, map_id, map_version FROM zone_roster
WHERE tenant_id = @tenant_id AND warehouse_id = @warehouse_id AND zone_id = @zone_id ORDER BY robot_id;

-- name: LoadOpenTasks :many
SELECT * FROM tasks WHERE tenant_id = @tenant_id AND warehouse_id = @warehouse_id
  AND status IN ('CREATED', 'ASSIGNED', 'EXECUTING', 'CANCELLING')
ORDER BY created_at, task_id;

-- name: LoadRobotIDs :many
SELECT robot_id FROM robots WHERE tenant_id = @tenant_id AND warehouse_id = @warehouse_id AND removed_at IS NULL
ORDER BY robot_code;

-- name: LoadActiveMap :one
SELECT map_id, version, source_format, geometry, options FROM map_versions
WHERE tenant_id = @tenant_id AND warehouse_id = @warehouse_id AND status = 'ACTIVE';

-- name: LoadChangedLanes :many
SELECT lane_id, run_closed, run_speed_mps, run_reason FROM lanes
WHERE tenant_id = @tenant_id AND map_id = @map_id AND changed_at IS NOT NULL
  AND from_version <= @version AND (to_version IS NULL OR to_version > @version)
ORDER BY lane_id;

-- name: LoadKeepOut :many
SELECT geojson_of(geom)::text AS polygon FROM zones
WHERE tenant_id = @tenant_id AND map_id = @map_id AND kind = 'keep_out' ORDER BY zone_id;

-- name: SaveSnapshots :exec
UPDATE robots r SET status = i.status, pose_x = i.x, pose_y = i.y, pose_theta = i.theta, battery_soc = i.battery,
    boot_id = i.boot, seq = i.seq, reported_at = nullif(i.reported_at, '0001-01-01 00:00:00+00')
FROM (
    SELECT unnest(@robot_ids::uuid[]) AS robot_id, unnest(@statuses::text[]) AS status,
        unnest(@xs::double precision[]) AS x, unnest(@ys::double precision[]) AS y,
        unnest(@thetas::double precision[]) AS theta, unnest(@batteries::double precision[]) AS battery,
        unnest(@boots::text[]) AS boot, unnest(@seqs::bigint[]) AS seq,
        unnest(@reported_ats::timestamptz[]) AS reported_at
) i
WHERE r.tenant_id = @tenant_id AND r.robot_id = i.robot_id
  AND (r.reported_at IS NULL OR r.reported_at <= i.reported_at);

-- name: TakeShard :one
WITH old AS MATERIALIZED (
    SELECT s.renewed_at FROM shard_incarnations s
    WHERE s.tenant_id = @tenant_id AND s.warehouse_id = @warehouse_id FOR UPDATE
)
UPDATE shard_incarnations s SET incarnation = s.incarnation + 1, owner = @owner, taken_at = clock_timestamp()
FROM old
WHERE s.tenant_id = @tenant_id AND s.warehouse_id = @warehouse_id
RETURNING s.incarnation,
    CASE WHEN old.renewed_at IS NULL THEN 0
        ELSE greatest(extract(epoch FROM old.renewed_at - clock_timestamp()) + @lease_seconds::double precision, 0) END::double precision AS wait_seconds;

-- name: MakeShard :exec
INSERT INTO shard_incarnations (tenant_id, warehouse_id, incarnation, owner, taken_at)
VALUES (@tenant_id, @warehouse_id, 0, '', clock_timestamp()) ON CONFLICT DO NOTHING;

-- name: RenewShards :many
UPDATE shard_incarnations s SET renewed_at = clock_timestamp()
FROM (
    SELECT unnest(@tenant_ids::uuid[]) AS tenant_id, unnest(@warehouse_ids::uuid[]) AS warehouse_id,
        unnest(@incarnations::bigint[]) AS incarnation
) i
WHERE s.tenant_id = i.tenant_id AND s.warehouse_id = i.warehouse_id AND s.incarnation = i.incarnation
  AND s.owner = @owner
RETURNING s.tenant_id, s.warehouse_id, s.incarnation;

-- name: EnsurePartitions :one
SELECT ensure_partitions(@parent::text, @days::integer) AS made;

-- name: ForgetPartitions :one
SELECT forget_partitions() AS gone;
