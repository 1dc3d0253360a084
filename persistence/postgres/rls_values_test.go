//go:build integration

package postgres_test

import (
	"crypto/md5"
	"time"

	"github.com/google/uuid"
)

// special is what a query wants where the name of its parameter says too little: mostly an id of something new.
func special(query, name string) (any, bool) {
	switch query + "." + name {
	case "StuckTasks.AfterTenant", "StuckTasks.AfterID", "StaleRobots.AfterTenant", "StaleRobots.AfterID":
		return uuid.Nil.String(), true
	case "StuckTasks.DeadlineSeconds", "IdleShards.LeaseSeconds", "StaleRobots.SilentSeconds":
		return -3600.0, true // what was written a moment ago is old enough
	case "SaveTimings.Timings":
		return []byte(`[{"task_id":"` + uuid.NewString() + `","warehouse_id":"` + owner.id("warehouse_id") + `","task_type":"patrol","fleet":"","priority":1,
			"version":1,"phase":"CREATED","phase_at":"2026-01-01T00:00:00Z","created_at":"2026-01-01T00:00:00Z","due_at":"2026-01-01T00:00:00Z",
			"awards":0,"errands":0,"delayed_ms":0,"waiting_ms":0,"approach_ms":0,"executing_ms":0,"cancelling_ms":0}]`), true
	case "RememberEvents.EventIds":
		return []string{uuid.NewString()}, true
	case "GetTenantBySlug.":
		return "t-" + owner.tenant()[:30], true
	case "CreateTenant.TenantID", "CreateWarehouse.WarehouseID", "CreateMap.MapID", "UpsertUser.UserID", "AcceptCommand.CommandID",
		"InsertOverlay.ZoneID":
		return uuid.NewString(), true
	case "InsertTaskEvents.EventIds", "InsertOutbox.EventIds", "InsertDecisions.DecisionIds", "CreateTasks.TaskIds", "AddAudit.AuditIds",
		"InsertTrafficZones.ZoneIds", "InsertLanes.LaneIds":
		return []string{uuid.NewString()}, true
	case "CreateWarehouse.WarehouseCode":
		return "another", true
	case "CreateMapVersion.Version":
		return int32(3), true
	case "CreateTasks.IdemKeys", "CreateTasks.IdemRoutes", "InsertKeys.Keys":
		return []string{"another"}, true
	case "InsertDecisions.Kinds":
		return []string{"award"}, true
	case "ListZonesAt.Area", "ListLanesAt.Area":
		return []float64{-1e6, -1e6, 1e6, -1e6, 1e6, 1e6, -1e6, 1e6, -1e6, -1e6}, true
	case "ListZones.Kind", "ListZonesAt.Kind", "ListRobots.Code", "ListAudit.Actor", "ListAudit.ResourceID", "ListAudit.RequestID":
		return "", true
	case "ListAudit.ActorUser":
		return owner.id("user_id"), true
	case "MarkSent.CreatedAts", "HoldOutbox.CreatedAts":
		return []time.Time{time.Now().UTC().Truncate(24 * time.Hour)}, true
	case "MarkSent.Oldest", "HoldOutbox.Oldest", "MarkSent.Newest", "HoldOutbox.Newest", "RefuseOutbox.CreatedAt":
		return time.Now().UTC().Truncate(24 * time.Hour), true
	case "AskDeadLetter.ToState":
		return "retrying", true
	case "AskDeadLetter.HandledBy":
		user := owner.id("user_id")
		return &user, true
	case "ListDeadLetters.State":
		return "", true
	case "CompleteAudit.Ats":
		now := time.Now().UTC()
		return []time.Time{time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)}, true
	case "PlaceOfTask.ID":
		return owner.id("task_id"), true
	case "PlaceOfRobot.ID":
		return owner.id("robot_id"), true
	case "PlaceOfMap.ID":
		return owner.id("map_id"), true
	case "PlaceOfZone.ID":
		return owner.id("zone_id"), true
	case "PlaceOfLane.ID":
		return owner.id("lane_id"), true
	case "RegisterRobot.AllowedZones":
		return []string{owner.id("zone_id")}, true
	case "MakeShard.WarehouseID": // of furtherRows
		return uuid.UUID(md5.Sum([]byte(owner.tenant()))).String(), true
	case "TaskByKey.Key":
		key := "idempotency_key"
		return &key, true
	case "OpenAlert.AlertID", "InsertHandling.HandlingID":
		return uuid.NewString(), true
	case "OpenAlert.SubjectID":
		return "another", true
	case "OpenAlert.Status", "StepAlert.Status":
		return "OPEN", true
	case "OpenAlert.ClearedAt", "StepAlert.ClearedAt":
		return (*time.Time)(nil), true
	case "OpenAlert.Resolution", "StepAlert.Resolution", "OpenAlert.Mark", "StepAlert.Mark", "ListAlerts.Status", "ListAlerts.Assignee", "ListAlerts.SubjectID":
		return "", true
	case "InsertHandling.Seq":
		return int64(2), true
	case "AddDelivery.DeliveryID":
		return uuid.NewString(), true
	case "AddDelivery.HandlingID":
		id := uuid.NewString()
		return &id, true
	case "EnableHook.Hook":
		return "disabled", true
	case "ForgetDeliveries.OlderSeconds":
		return -3600.0, true
	case "HookLooked.LookedAt":
		return time.Now().Add(time.Hour), true
	case "ListDeliveries.State":
		return "", true
	case "RetryDelivery.DeliveryID": // of furtherRows
		return uuid.UUID(md5.Sum([]byte(owner.tenant()))).String(), true
	case "TriedDelivery.State":
		return "sent", true
	case "UntoldSteps.Jams":
		return []bool{true, false}, true
	case "RetireMaps.MapID":
		return uuid.NewString(), true
	case "RegisterRobot.Version", "RemoveRobot.Version", "MoveTask.ToVersion":
		return int64(2), true
	case "SaveSnapshots.Statuses":
		return []string{"IDLE"}, true
	}
	return nil, false
}
