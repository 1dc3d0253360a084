// Package rest is the HTTP door: it decodes, checks, authorises and routes; it renders what comes back. It decides
// nothing about robots. The operations' types are the OpenAPI document.
package rest

import (
	"context"
	"encoding/json"
	"net/http"

	"starling/engine/congestion"
	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
	"starling/gateway/view"
)

// Engine is what the door needs of the actors. Errors wrap those of package fact.
type Engine interface {
	CreateTask(ctx context.Context, spec task.Spec, by fleet.Actor, trace fleet.Trace, idem *fact.Idempotency) (task.View, error)
	CreateTasks(ctx context.Context, shard fleet.Shard, specs []task.Spec, by fleet.Actor, trace fleet.Trace, idem *fact.Idempotency) error
	CancelTask(ctx context.Context, shard fleet.Shard, id fleet.TaskID, reason string, by fleet.Actor, trace fleet.Trace) (task.View, error)
	RegisterRobot(ctx context.Context, spec robot.Spec, ifVersion int64, by fleet.Actor, trace fleet.Trace, idem *fact.Idempotency) (robot.View, error)
	RemoveRobot(ctx context.Context, shard fleet.Shard, id fleet.RobotID, ifVersion int64, by fleet.Actor, trace fleet.Trace) error
	CommandRobot(ctx context.Context, shard fleet.Shard, c robot.Command, by fleet.Actor, trace fleet.Trace, idem *fact.Idempotency) error
	ReportStatus(ctx context.Context, shard fleet.Shard, id fleet.RobotID, s robot.StatusReported) (accepted bool, reason string, err error)
	ActivateMap(ctx context.Context, g *roadmap.Graph, shard fleet.Shard, by fleet.Actor, trace fleet.Trace) error
	ChangeLane(ctx context.Context, shard fleet.Shard, m dispatch.LaneRequested) (dispatch.LaneState, error)
	ChangeOverlays(ctx context.Context, shard fleet.Shard, keepOut []fleet.Vertex) error
	ActiveGraph(ctx context.Context, shard fleet.Shard) (*roadmap.Graph, error)
	Ground(ctx context.Context, shard fleet.Shard) (dispatch.Ground, error)
}

// Views are the newest states.
type Views interface {
	Robot(shard fleet.Shard, id fleet.RobotID) (v robot.View, version uint64, ok bool)
	Zone(shard fleet.Shard, id fleet.ZoneID) (v zone.View, version uint64, ok bool)
	Warehouse(shard fleet.Shard) (v dispatch.View, version uint64, ok bool)
	Robots(shard fleet.Shard, f func(*robot.View) bool)
	Task(shard fleet.Shard, id fleet.TaskID) (v task.View, ok bool)
	Tasks(shard fleet.Shard, f func(*task.View) bool)
	Tempo(shard fleet.Shard) view.Tempo
	// Congestion lists the newest scores of a shard: zones, lanes and the warehouse.
	Congestion(shard fleet.Shard) []view.Heat
	CongestionOf(shard fleet.Shard, subject congestion.Subject) (view.Heat, bool)
}

// Page serves the operators' page.
type Page interface {
	http.Handler
	// Has says whether a request is for the page.
	Has(r *http.Request) bool
}

// Facts are the stored rows. Errors wrap fact.ErrNotFound, ErrConflict (*fact.ConflictError), ErrUnavailable, or are
// fact.ErrBadCursor.
type Facts interface {
	// FirstAnswer is what a key was answered first, with the fingerprint of that request; nil and no error where the
	// key is new, or too old to be kept. tenant "" = the platform's keys.
	FirstAnswer(ctx context.Context, tenant fleet.TenantID, route, key string) (fingerprint []byte, answer *fact.Answer, err error)
	// RememberAnswer keeps the answer of a key of a tenant whose creation is not kept itself; a key that is used is a *fact.ConflictError.
	RememberAnswer(ctx context.Context, tenant fleet.TenantID, idem *fact.Idempotency) error

	CreateTenant(ctx context.Context, t fact.Tenant, idem *fact.Idempotency) error
	GetTenant(ctx context.Context, id fleet.TenantID) (fact.Tenant, error)
	GetTenantBySlug(ctx context.Context, slug string) (fact.Tenant, error)
	ListTenants(ctx context.Context, p fact.Page) (fact.List[fact.Tenant], error)
	PatchSettings(ctx context.Context, id fleet.TenantID, patch json.RawMessage, ifVersion int64) (fact.Tenant, error)
	// SetTenantLimits changes a tenant's name (nil = stays) and replaces its limits (empty = stay).
	SetTenantLimits(ctx context.Context, id fleet.TenantID, name *string, limits json.RawMessage, ifVersion int64) (fact.Tenant, error)
	ListAudit(ctx context.Context, tenant fleet.TenantID, f fact.AuditFilter, p fact.Page) (fact.List[fact.AuditEntry], error)
	CountRobots(ctx context.Context, tenant fleet.TenantID) (int, error)

	CreateWarehouse(ctx context.Context, w fact.Warehouse, idem *fact.Idempotency) error
	GetWarehouse(ctx context.Context, tenant fleet.TenantID, id fleet.WarehouseID) (fact.Warehouse, error)
	ListWarehouses(ctx context.Context, tenant fleet.TenantID, p fact.Page) (fact.List[fact.Warehouse], error)

	CreateMap(ctx context.Context, u fact.MapUpload, idem *fact.Idempotency) error
	AddMapVersion(ctx context.Context, u fact.MapUpload, idem *fact.Idempotency) (version int, err error)
	GetMap(ctx context.Context, tenant fleet.TenantID, id fleet.MapID) (fact.Map, error)
	ListMaps(ctx context.Context, tenant fleet.TenantID, warehouse fleet.WarehouseID, p fact.Page) (fact.List[fact.Map], error)
	ListMapVersions(ctx context.Context, tenant fleet.TenantID, id fleet.MapID, p fact.Page) (fact.List[fact.MapVersion], error)
	GetMapVersion(ctx context.Context, tenant fleet.TenantID, id fleet.MapID, version int) (fact.MapVersion, []byte, error)

	PutZone(ctx context.Context, z fact.Zone, ifVersion int64) (saved fact.Zone, created bool, err error)
	GetZone(ctx context.Context, tenant fleet.TenantID, id fleet.ZoneID) (fact.Zone, error)
	DeleteZone(ctx context.Context, tenant fleet.TenantID, id fleet.ZoneID, ifVersion int64) error
	ListZones(ctx context.Context, tenant fleet.TenantID, f fact.ZoneFilter, p fact.Page) (fact.List[fact.Zone], error)

	GetLane(ctx context.Context, tenant fleet.TenantID, id fleet.LaneID) (fact.Lane, error)
	ListLanes(ctx context.Context, tenant fleet.TenantID, f fact.LaneFilter, p fact.Page) (fact.List[fact.Lane], error)

	GetRobot(ctx context.Context, tenant fleet.TenantID, id fleet.RobotID) (Robot, error)
	ListRobots(ctx context.Context, tenant fleet.TenantID, f fact.RobotFilter, p fact.Page) (fact.List[Robot], error)
	GetCommand(ctx context.Context, tenant fleet.TenantID, robot fleet.RobotID, id fleet.CommandID) (fact.Command, error)

	GetTask(ctx context.Context, tenant fleet.TenantID, id fleet.TaskID) (task.View, error)
	ListTasks(ctx context.Context, tenant fleet.TenantID, f fact.TaskFilter, p fact.Page) (fact.List[task.View], error)
	// GetTiming says how long a task spent in which phase; fact.ErrNotFound until its first event has been consumed.
	GetTiming(ctx context.Context, tenant fleet.TenantID, id fleet.TaskID) (task.Timing, error)
	ListTaskEvents(ctx context.Context, tenant fleet.TenantID, id fleet.TaskID, p fact.Page) (fact.List[fact.TaskEvent], error)
	ListDecisions(ctx context.Context, tenant fleet.TenantID, f fact.DecisionFilter, p fact.Page) (fact.List[fact.Decision], error)

	ListDeadLetters(ctx context.Context, tenant fleet.TenantID, f fact.LetterFilter, p fact.Page) (fact.List[fact.DeadLetter], error)
	GetDeadLetter(ctx context.Context, tenant fleet.TenantID, id fleet.EventID) (fact.DeadLetter, error)
	// AskDeadLetter makes an open letter retrying or discarding.
	AskDeadLetter(ctx context.Context, tenant fleet.TenantID, id fleet.EventID, to fact.LetterState, by fleet.UserID) (fact.DeadLetter, error)
}

// Robot is a registered robot as stored: its registration and its last snapshot.
type Robot struct {
	Spec    robot.Spec
	Version int64
	Last    robot.LastKnown
	// Seen is its newest view where another process holds it; nil = there is none, or it is older than Last.
	Seen *robot.View
}
