package fact

import (
	"encoding/json"
	"errors"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/task"
)

// The rows that clients list and read, as the stores give them. Ids are set by whoever creates; times that a store
// sets itself are said so.

// ErrBadCursor: the cursor was not made by this list.
var ErrBadCursor = errors.New("cursor is not one of this list")

// Page asks for one page of a list: at most Limit rows (1..500) after Cursor ("" = from the start).
type Page struct {
	Limit  int
	Cursor string
}

// List is one page; Next is "" after the last.
type List[T any] struct {
	Items []T
	Next  string
}

// Tenant is one customer. Version counts changes of Settings, a JSON object. Limits, a JSON object too, are the bounds
// that the platform's administrators set: the quotas of Settings never exceed them.
type Tenant struct {
	ID        fleet.TenantID
	Slug      string
	Name      string
	Settings  json.RawMessage
	Limits    json.RawMessage
	Version   int64
	CreatedAt time.Time
}

// User is a person who has signed in.
type User struct {
	ID          fleet.UserID
	Tenant      fleet.TenantID
	Subject     string // the token's
	Email       string
	DisplayName string
	Role        string // overrides the token's where the tenant allows it, "" = does not
	CreatedAt   time.Time
	LastLoginAt time.Time
}

// Warehouse is one floor. Timezone is an IANA name.
type Warehouse struct {
	ID        fleet.WarehouseID
	Tenant    fleet.TenantID
	Code      string
	Name      string
	Timezone  string
	Region    string
	CreatedAt time.Time
}

// Map is a series of versions of one floor's roadmap. Revision rises with every upload and activation.
type Map struct {
	ID        fleet.MapID
	Tenant    fleet.TenantID
	Warehouse fleet.WarehouseID
	Name      string
	Newest    int // newest version
	Active    int // active version, 0 = none
	Revision  int64
	CreatedBy fleet.UserID
	CreatedAt time.Time
}

// MapVersion is one uploaded version. Status is DRAFT, ACTIVE or RETIRED.
type MapVersion struct {
	Map         fleet.MapID
	Tenant      fleet.TenantID
	Warehouse   fleet.WarehouseID
	Version     int
	Status      string
	Format      string
	ResM        float64 // metres per cell of a grid; 0 for others
	Vertices    int
	Lanes       int
	Zones       int
	Report      roadmap.Report
	CreatedBy   fleet.UserID
	CreatedAt   time.Time
	ActivatedAt time.Time // zero = never
}

// MapUpload is a map, or a further version of one, as it comes in. Graph is nil where the source cannot be built.
type MapUpload struct {
	Map     Map // Name, Warehouse and CreatedBy of a new map; ID, Tenant and CreatedBy of a further version
	Format  string
	ResM    float64
	Content []byte
	Report  roadmap.Report
	Graph   *roadmap.Graph
}

// Zone is a traffic zone of a map, or an overlay that people drew. Kind is traffic, keep_out, slow, parking or
// charging. Version is for If-Match.
type Zone struct {
	ID        fleet.ZoneID
	Tenant    fleet.TenantID
	Map       fleet.MapID
	Warehouse fleet.WarehouseID
	Kind      string
	Name      string
	Capacity  int
	Polygon   roadmap.Polygon // metres
	Version   int64
}

// ZoneFilter narrows a list of zones; zero values narrow nothing.
type ZoneFilter struct {
	Map       fleet.MapID
	Warehouse fleet.WarehouseID
	Kind      string
	At        Area
}

// LaneFilter narrows a list of lanes of a map; zero values narrow nothing.
type LaneFilter struct {
	Map fleet.MapID
	At  Area
}

// Area is a part of the floor: what it touches, or what it has wholly inside. The zero value is all of the floor.
type Area struct {
	Ring   roadmap.Polygon // closed; metres of the map; nil = everywhere
	Inside bool
}

// Diagrams is what was learned of how a warehouse's zones flow. Learned is a JSON object, congestion's to read.
type Diagrams struct {
	Shard      fleet.Shard
	Map        fleet.MapID // on which it was learned
	MapVersion int
	Learned    json.RawMessage
	SavedAt    time.Time // set by the store
}

// Lane is a lane of a map's active version (or its newest, where none is active) with what was changed at run time.
type Lane struct {
	ID        fleet.LaneID
	Map       fleet.MapID
	Warehouse fleet.WarehouseID
	From, To  string // vertex ids
	LengthM   float64
	SpeedMPS  float64 // limit in force; 0 = none
	Closed    bool    // in force
	Reason    string  // of the change at run time
	ChangedAt time.Time
	Points    [2][2]float64 // metres
}

// RobotFilter narrows a list of robots; zero values narrow nothing.
type RobotFilter struct {
	Warehouse fleet.WarehouseID
	Fleet     string
	Code      string
}

// TaskFilter narrows a list of tasks; zero values narrow nothing.
type TaskFilter struct {
	Status       string // wire name
	Type         string // wire name
	Warehouse    fleet.WarehouseID
	Robot        fleet.RobotID
	Source       string
	CreatedAfter time.Time
}

// TaskEvent is one entry of a task's history.
type TaskEvent struct {
	ID      fleet.EventID
	Task    fleet.TaskID
	Seq     int64  // the task's version after it
	Type    string // created, assigned, …
	From    string // status, "" for the first
	To      string
	At      time.Time
	By      fleet.Actor
	Payload json.RawMessage // a JSON object
}

// CommandStage is one step of a command, with its time.
type CommandStage struct {
	Stage fleet.Stage
	At    time.Time
}

// Command is an operator's wish and how far it has got.
type Command struct {
	ID        fleet.CommandID
	Robot     fleet.RobotID
	Kind      fleet.CommandKind
	Place     string
	ExpiresAt time.Time
	By        fleet.UserID
	Reason    string         // of a failure
	Stages    []CommandStage // in order
}

// Decision is one award with its reasons, or (Task "") a deadlock that was broken: Robot yielded, Cycle stood.
type Decision struct {
	ID           fleet.DecisionID
	Warehouse    fleet.WarehouseID
	At           time.Time
	Task         fleet.TaskID
	Robot        fleet.RobotID
	Cost         task.Cost
	Alternatives []task.Alternative
	Cycle        []fleet.RobotID
	Reason       string
	InputsDigest string
	Before       fleet.RobotID // of an award: had the task before, "" = nobody
	Because      string        // why it was taken from that one
}

// DecisionFilter narrows a list of decisions; zero values narrow nothing.
type DecisionFilter struct {
	Warehouse fleet.WarehouseID
	Task      fleet.TaskID
	Robot     fleet.RobotID
}

// AuditFilter narrows a list of audit entries; zero values narrow nothing.
type AuditFilter struct {
	From, To     time.Time // occurred_at in [From, To)
	Actor        string    // a user's id (what is a uuid), or a token's subject
	Action       string    // whole, or up to a dot: "task" finds task.create
	ResourceType string
	ResourceID   string
	RequestID    string
}

// AuditEntry says who did what. Tenant "" = unknown: a refused sign-in. Status 0 = an intent: the request has not been
// answered yet, or the process ended before it was.
type AuditEntry struct {
	ID           string // uuid
	At           time.Time
	Tenant       fleet.TenantID
	User         fleet.UserID
	Subject      string
	Action       string
	ResourceType string
	ResourceID   string
	RequestID    string
	TraceID      string
	Method       string
	Path         string
	Status       int
	Duration     time.Duration
	ClientIP     string
	UserAgent    string
	Details      json.RawMessage // a JSON object, nil = {}
}

// Place says where an aggregate lives.
type Place struct {
	Shard fleet.Shard
	Map   fleet.MapID // of maps, zones and lanes
}
