-- Alerts and their handling.

-- name: OpenAlert :one
INSERT INTO alerts (
    tenant_id, alert_id, warehouse_id, subject_kind, subject_id, cause, feed, level, peak, status, message, details, count, escalations,
    assignee_user_id, acknowledged_by_user_id, acknowledged_by_part, resolution, mark, remedies, unsettled, opened_at, seen_at, called_at,
    acknowledged_at, snoozed_until, cleared_at, updated_at, version
) VALUES (
    @tenant_id, @alert_id, @warehouse_id, @subject_kind, @subject_id, @cause, @feed, @level, @peak, @status, @message, @details, @count, @escalations,
    @assignee_user_id, @acknowledged_by_user_id, @acknowledged_by_part, @resolution, @mark, @remedies, @unsettled, @opened_at, @seen_at, @called_at,
    @acknowledged_at, @snoozed_until, @cleared_at, @updated_at, @version
) ON CONFLICT (tenant_id, alert_id) DO NOTHING RETURNING version;

-- name: StepAlert :one
UPDATE alerts SET
    level = @level, peak = @peak, status = @status, message = @message, details = @details, count = @count, escalations = @escalations,
    assignee_user_id = @assignee_user_id, acknowledged_by_user_id = @acknowledged_by_user_id, acknowledged_by_part = @acknowledged_by_part,
    resolution = @resolution, mark = @mark, remedies = @remedies, unsettled = @unsettled, seen_at = @seen_at, called_at = @called_at,
    acknowledged_at = @acknowledged_at, snoozed_until = @snoozed_until, cleared_at = @cleared_at, updated_at = @updated_at, version = @version
WHERE tenant_id = @tenant_id AND alert_id = @alert_id AND warehouse_id = @warehouse_id AND version = @from_version
RETURNING version;

-- name: InsertHandling :exec
INSERT INTO alert_handling (tenant_id, handling_id, alert_id, seq, action, actor_user_id, actor_part, occurred_at, details, traceparent)
VALUES (@tenant_id, @handling_id, @alert_id, @seq, @action, @actor_user_id, @actor_part, @occurred_at, @details, @traceparent);

-- name: GetAlert :one
SELECT * FROM alerts WHERE tenant_id = @tenant_id AND alert_id = @alert_id;

-- name: LoadOpenAlerts :many
SELECT * FROM alerts
WHERE tenant_id = @tenant_id AND warehouse_id = @warehouse_id AND (unsettled OR status <> 'RESOLVED')
ORDER BY opened_at, alert_id;

-- name: LoadRecentAlerts :many
SELECT * FROM alerts
WHERE tenant_id = @tenant_id AND warehouse_id = @warehouse_id AND status = 'RESOLVED' AND NOT unsettled
  AND cleared_at > @cleared_after::timestamptz
ORDER BY cleared_at DESC LIMIT @recent;

-- name: HandlingOf :many
SELECT h.* FROM alert_handling h
WHERE h.tenant_id = @tenant_id AND h.alert_id = ANY (@alert_ids::uuid[])
  AND h.seq > (SELECT max(l.seq) FROM alert_handling l WHERE l.tenant_id = h.tenant_id AND l.alert_id = h.alert_id) - @newest::bigint
ORDER BY h.alert_id, h.seq;

-- name: ListAlerts :many
SELECT * FROM alerts
WHERE tenant_id = @tenant_id AND (opened_at, alert_id) < (@before_at::timestamptz, @before_id::uuid)
  AND opened_at >= @from_at::timestamptz AND opened_at < @to_at::timestamptz
  AND (@status::text = '' OR status = @status::text)
  AND (NOT @open::boolean OR status <> 'RESOLVED')
  AND level BETWEEN @min_level::smallint AND @max_level::smallint
  AND (@cause::text = '' OR cause = @cause::text)
  AND (@subject_kind::text = '' OR subject_kind = @subject_kind::text)
  AND (@subject_id::text = '' OR subject_id = @subject_id::text)
  AND (@warehouse_id::text = '' OR warehouse_id = nullif(@warehouse_id::text, '')::uuid)
  AND (@assignee::text = '' OR assignee_user_id = nullif(@assignee::text, '')::uuid)
ORDER BY opened_at DESC, alert_id DESC LIMIT @page_size;

-- name: ListMarks :many
SELECT a.*, coalesce((
    SELECT h.details ->> 'text' FROM alert_handling h
    WHERE h.tenant_id = a.tenant_id AND h.alert_id = a.alert_id AND h.action = 'mark' ORDER BY h.seq DESC LIMIT 1
), '')::text AS marked_text
FROM alerts a
WHERE a.tenant_id = @tenant_id AND a.mark <> '' AND a.opened_at >= @from_at::timestamptz AND a.opened_at < @to_at::timestamptz
ORDER BY a.opened_at, a.alert_id LIMIT @at_most;
