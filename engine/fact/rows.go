package fact

import (
	"encoding/json"
	"time"

	"starling/engine/fleet"
)

// Rows are what repositories return: plain data, as the tables have it. The gateway's rooms read them.

// Page asks for a part of a list. Cursor is opaque, "" = from the start.
type Page struct {
	Limit  int
	Cursor string
}

// Listed is one part of a list; Next is "" at the end.
type Listed[T any] struct {
	Items []T
	Next  string
}

// TenantRow is a tenant.
type TenantRow struct {
	ID        fleet.TenantID
	Slug      string
	Name      string
	Settings  json.RawMessage
	CreatedAt time.Time
}

// WarehouseRow is a warehouse.
type WarehouseRow struct {
	ID        fleet.WarehouseID
	Tenant    fleet.TenantID
	Code      string
	Name      string
	Timezone  string
	CreatedAt time.Time
}

// MapRow is a map with its newest and its active version (0 = none).
type MapRow struct {
	ID            fleet.MapID
	Warehouse     fleet.WarehouseID
	Name          string
	Version       int
	ActiveVersion int
	CreatedAt     time.Time
}

// MapVersionRow is one version of a map. Content is filled by GetMapVersion alone.
type MapVersionRow struct {
	Map       fleet.MapID
	Warehouse fleet.WarehouseID
	Name      string
	Version   int
	Status    string // DRAFT, ACTIVE, RETIRED
	Format    string
	ResM      float64
	Content   []byte
	Report    json.RawMessage
	CreatedBy fleet.UserID
	CreatedAt time.Time
}

// OverlayRow is a polygon that a client has put over a map.
type OverlayRow struct {
	ID        fleet.ZoneID
	Map       fleet.MapID
	Warehouse fleet.WarehouseID
	Kind      string
	Name      string
	Capacity  int
	Polygon   [][2]float64 // closed ring
	Version   int64
}

// LaneRow is what was changed on a lane.
type LaneRow struct {
	ID       fleet.LaneID
	Map      fleet.MapID
	Closed   bool
	SpeedMPS float64
	Reason   string
}

// RobotRow is a registered robot with its last snapshot.
type RobotRow struct {
	ID           fleet.RobotID
	Warehouse    fleet.WarehouseID
	Code         string
	DisplayName  string
	Fleet        string
	Model        string
	Protocol     string
	Control      fleet.Control
	Capabilities []string
	AllowedZones []fleet.ZoneID
	Priority     uint8
	RadiusM      float64
	MaxSpeedMPS  float64
	Version      int64
	CreatedAt    time.Time
	Connection   fleet.Connection
	State        fleet.RobotState
	Located      bool
	Pose         fleet.Pose
	Battery      float64
	ReportedAt   time.Time // zero = never
}

// TaskRow is a task.
type TaskRow struct {
	ID            fleet.TaskID
	Tenant        fleet.TenantID
	Warehouse     fleet.WarehouseID
	Type          fleet.TaskType
	Status        fleet.TaskStatus
	Source        string
	Priority      uint8
	Payload       json.RawMessage
	Robot         fleet.RobotID
	WantedFleet   string
	EarliestStart time.Time
	Deadline      time.Time
	Errand        int
	Errands       int
	Reason        string
	Version       int64
	CreatedAt     time.Time
	AssignedAt    time.Time
	StartedAt     time.Time
	FinishedAt    time.Time
	UpdatedAt     time.Time
}

// TaskFilter narrows a list of tasks; zero fields do not.
type TaskFilter struct {
	Status       []fleet.TaskStatus
	Type         string
	Warehouse    fleet.WarehouseID
	Robot        fleet.RobotID
	Source       string
	CreatedAfter time.Time
}

// TaskEventRow is one recorded event of a task.
type TaskEventRow struct {
	ID         fleet.EventID
	Seq        int64
	Type       string
	From, To   string // statuses, From "" at creation
	OccurredAt time.Time
	Actor      string // user id or part of the engine
	Payload    json.RawMessage
}

// CommandRow is a command and the stages it has passed.
type CommandRow struct {
	ID     fleet.CommandID
	Robot  fleet.RobotID
	Kind   fleet.CommandKind
	Stages []StageRow
}

// StageRow is one stage and when it was reached.
type StageRow struct {
	Stage fleet.Stage
	At    time.Time
}

// DecisionRow is one recorded decision of the dispatcher.
type DecisionRow struct {
	ID           fleet.DecisionID
	At           time.Time
	Task         fleet.TaskID
	Robot        fleet.RobotID
	Travel       float64
	Queue        float64
	Battery      float64
	Priority     float64
	Total        float64
	Alternatives []AlternativeRow
	Reason       string
}

// AlternativeRow is a robot that was not chosen.
type AlternativeRow struct {
	Robot  fleet.RobotID
	Total  float64
	Reason string
}

// DecisionFilter narrows a list of decisions; zero fields do not.
type DecisionFilter struct {
	Warehouse fleet.WarehouseID
	Task      fleet.TaskID
	Robot     fleet.RobotID
	After     time.Time
}

// RobotFilter narrows a list of robots; zero fields do not.
type RobotFilter struct {
	Warehouse fleet.WarehouseID
	Fleet     string
}
