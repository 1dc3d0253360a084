-- What pumps ask as starling_worker, across tenants; and what people ask about dead letters, as starling_app.

-- name: ClaimOutbox :many
-- The next facts of a shard, by topic: rows become visible in another order than their numbers, but those of one
-- aggregate do not, since it has one writer at a time. Parked: an earlier fact of the aggregate is a dead letter.
SELECT o.event_id, o.created_at, o.tenant_id, o.aggregate_type, o.aggregate_id, o.topic, o.key, o.payload, o.headers, o.seq, o.attempts,
    EXISTS (SELECT FROM dead_letters d WHERE d.aggregate_id = o.aggregate_id AND d.state IN ('open', 'retrying', 'discarding')) AS parked
FROM unnest(@topics::text[]) AS t(topic) CROSS JOIN LATERAL (
    SELECT * FROM outbox_events e
    WHERE e.shard = @shard AND e.topic = t.topic AND e.status = 'PENDING' AND NOT e.held AND e.aggregate_id <> ALL (@except_ids::uuid[])
    ORDER BY e.seq LIMIT @at_most
) o;

-- name: PendingOutbox :many
-- Which shards have something to send, and of which topics: one step of an index for each.
WITH RECURSIVE step AS (
    (SELECT e.shard, e.topic FROM outbox_events e WHERE e.status = 'PENDING' AND NOT e.held ORDER BY e.shard, e.topic LIMIT 1)
    UNION ALL
    SELECT n.shard, n.topic FROM step s CROSS JOIN LATERAL (
        SELECT e.shard, e.topic FROM outbox_events e
        WHERE e.status = 'PENDING' AND NOT e.held AND (e.shard, e.topic) > (s.shard, s.topic) ORDER BY e.shard, e.topic LIMIT 1
    ) n
)
SELECT shard, topic FROM step;

-- name: AskedOutbox :many
SELECT DISTINCT shard FROM dead_letters WHERE state IN ('retrying', 'discarding');

-- name: MarkSent :exec
UPDATE outbox_events o SET status = 'SENT', sent_at = now()
FROM (SELECT unnest(@event_ids::uuid[]) AS event_id, unnest(@created_ats::timestamptz[]) AS created_at) i
WHERE o.event_id = i.event_id AND o.created_at = i.created_at AND o.status = 'PENDING'
    AND o.created_at BETWEEN @oldest AND @newest;

-- name: HoldOutbox :exec
-- Only behind a letter that is not decided, whatever a pump that comes late believes; it is locked, so that whoever decides
-- frees all or comes first.
WITH letters AS MATERIALIZED (
    SELECT d.aggregate_id FROM dead_letters d
    WHERE d.aggregate_id = ANY (@aggregate_ids::uuid[]) AND d.state IN ('open', 'retrying', 'discarding') ORDER BY d.event_id FOR SHARE
)
UPDATE outbox_events o SET held = true
FROM (SELECT unnest(@event_ids::uuid[]) AS event_id, unnest(@created_ats::timestamptz[]) AS created_at) i
WHERE o.event_id = i.event_id AND o.created_at = i.created_at AND o.status = 'PENDING'
    AND o.created_at BETWEEN @oldest AND @newest AND EXISTS (SELECT FROM letters l WHERE l.aggregate_id = o.aggregate_id);

-- name: FreeHeld :execrows
-- Frees what is held without a letter to wait for, of some aggregates: one step of an index for each that is held.
WITH RECURSIVE step AS (
    (SELECT e.aggregate_id FROM outbox_events e WHERE e.status = 'PENDING' AND e.held ORDER BY e.aggregate_id LIMIT 1)
    UNION ALL
    SELECT n.aggregate_id FROM step s CROSS JOIN LATERAL (
        SELECT e.aggregate_id FROM outbox_events e
        WHERE e.status = 'PENDING' AND e.held AND e.aggregate_id > s.aggregate_id ORDER BY e.aggregate_id LIMIT 1
    ) n
), lost AS (
    SELECT s.aggregate_id FROM step s
    WHERE NOT EXISTS (SELECT FROM dead_letters d WHERE d.aggregate_id = s.aggregate_id AND d.state IN ('open', 'retrying', 'discarding'))
    LIMIT @at_most
)
UPDATE outbox_events o SET held = false FROM lost l WHERE o.aggregate_id = l.aggregate_id AND o.held AND o.status = 'PENDING';

-- name: RefuseOutbox :exec
UPDATE outbox_events SET attempts = @attempts, next_retry_at = @next_retry_at, last_error = @cause
WHERE event_id = @event_id AND created_at = @created_at AND status = 'PENDING';

-- name: WaitingOutbox :many
-- What a pump that takes over must leave alone for a while.
SELECT aggregate_id, next_retry_at FROM outbox_events
WHERE shard = @shard AND status = 'PENDING' AND attempts > 0 AND next_retry_at > now() LIMIT @at_most;

-- name: BuryOutbox :exec
-- The fact is a dead letter from now on, and its aggregate is parked by that.
WITH dead AS (
    UPDATE outbox_events o SET status = 'DEAD', attempts = @attempts, last_error = @cause
    WHERE o.event_id = @event_id AND o.created_at = @created_at AND o.status = 'PENDING'
    RETURNING o.event_id, o.tenant_id, o.shard, o.aggregate_type, o.aggregate_id, o.topic, o.key, o.attempts, o.created_at
)
INSERT INTO dead_letters AS l (event_id, tenant_id, shard, aggregate_type, aggregate_id, topic, key, event_type, cause, attempts, created_at)
SELECT dead.event_id, dead.tenant_id, dead.shard, dead.aggregate_type, dead.aggregate_id, dead.topic, dead.key, @event_type, @cause, dead.attempts,
    dead.created_at
FROM dead
ON CONFLICT (event_id) DO UPDATE SET cause = excluded.cause, attempts = excluded.attempts, deaths = l.deaths + 1, dead_at = now(),
    state = 'open', handled_at = NULL, handled_by = NULL;

-- name: LockDead :many
-- Letters that people have decided about, locked: a statement that comes after sees whatever was held behind them.
SELECT event_id FROM dead_letters WHERE shard = @shard AND state IN ('retrying', 'discarding') ORDER BY event_id LIMIT @at_most FOR UPDATE;

-- name: HandleDead :many
-- Does what people have asked for: the letter goes out again or never, and what waited behind it is free.
WITH asked AS (
    UPDATE dead_letters SET state = CASE state WHEN 'retrying' THEN 'retried' ELSE 'discarded' END
    WHERE event_id = ANY (@event_ids::uuid[]) AND state IN ('retrying', 'discarding')
    RETURNING event_id, aggregate_id, topic, created_at, state
), again AS (
    UPDATE outbox_events o SET status = 'PENDING', attempts = 0, next_retry_at = now() FROM asked a
    WHERE a.state = 'retried' AND o.event_id = a.event_id AND o.created_at = a.created_at AND o.status = 'DEAD' RETURNING o.event_id
), free AS (
    UPDATE outbox_events o SET held = false FROM asked a
    WHERE o.aggregate_id = a.aggregate_id AND o.held AND o.status = 'PENDING' RETURNING o.event_id
)
SELECT topic, (SELECT count(*) FROM again) AS again, (SELECT count(*) FROM free) AS free FROM asked;

-- name: LagOutbox :many
-- Of each shard and topic that has something: how much, up to a bound, and since when.
SELECT s.shard::smallint AS shard, t.topic::text AS topic, (SELECT count(*) FROM (
        SELECT FROM outbox_events e WHERE e.shard = s.shard AND e.topic = t.topic AND e.status = 'PENDING' AND NOT e.held LIMIT @at_most) x)::bigint AS pending,
    extract(epoch FROM now() - o.created_at)::double precision AS age_seconds
FROM unnest(@shards::smallint[]) AS s(shard) CROSS JOIN unnest(@topics::text[]) AS t(topic) CROSS JOIN LATERAL (
    SELECT e.created_at FROM outbox_events e
    WHERE e.shard = s.shard AND e.topic = t.topic AND e.status = 'PENDING' AND NOT e.held ORDER BY e.seq LIMIT 1
) o;

-- name: ParkedOutbox :many
SELECT topic, count(*) FROM dead_letters WHERE state IN ('open', 'retrying', 'discarding') AND shard = ANY (@shards::smallint[]) GROUP BY topic;

-- name: RingOutbox :exec
SELECT pg_notify('starling_outbox', @shards::text);

-- name: TryLock :one
SELECT pg_try_advisory_lock(@class::integer, @id::integer);

-- name: Unlock :one
SELECT pg_advisory_unlock(@class::integer, @id::integer);

-- name: CountLockers :one
-- How many sessions hold locks of a class in this database.
SELECT lockers(@class::integer);

-- name: ForgetDead :execrows
DELETE FROM dead_letters WHERE state IN ('retried', 'discarded') AND handled_at < now() - interval '90 days';

-- name: ListDeadLetters :many
SELECT d.*, (SELECT count(*) FROM (
        SELECT FROM outbox_events o WHERE o.aggregate_id = d.aggregate_id AND o.held AND o.status = 'PENDING' AND o.tenant_id = d.tenant_id LIMIT 1000) x)::bigint AS waiting
FROM dead_letters d
WHERE d.tenant_id = @tenant_id AND (d.dead_at, d.event_id) < (@before_at::timestamptz, @before_id::uuid)
    AND (@topic::text = '' OR d.topic = @topic) AND (@state::text = '' OR d.state = @state)
ORDER BY d.dead_at DESC, d.event_id DESC LIMIT @page_size;

-- name: GetDeadLetter :one
SELECT d.*, (SELECT count(*) FROM (
        SELECT FROM outbox_events o WHERE o.aggregate_id = d.aggregate_id AND o.held AND o.status = 'PENDING' AND o.tenant_id = d.tenant_id LIMIT 1000) x)::bigint AS waiting,
    coalesce((SELECT o.payload FROM outbox_events o WHERE o.event_id = d.event_id AND o.created_at = d.created_at AND o.tenant_id = d.tenant_id), ''::bytea)::bytea AS payload
FROM dead_letters d WHERE d.tenant_id = @tenant_id AND d.event_id = @event_id;

-- name: AskDeadLetter :one
-- People ask, the pump of the shard does: nobody else changes what it works on.
UPDATE dead_letters SET state = @to_state, handled_at = now(), handled_by = sqlc.narg('handled_by')
WHERE tenant_id = @tenant_id AND event_id = @event_id AND state IN ('open', @to_state) RETURNING shard;
