// Package robot is the state machine of one AGV: its connection, last status, order with base and horizon,
// the grants it holds, its congestion window and its commands. It decides no right of way: zones do.
//
// Size: one State per robot, aim at most 3 kB idle with everything around it. A status in steady state
// allocates nothing.
package robot

import (
	"time"

	"starling/engine/fleet"
)

// Spec is what was registered.
type Spec struct {
	ID           fleet.RobotID
	Tenant       fleet.TenantID
	Warehouse    fleet.WarehouseID
	Code         string
	DisplayName  string
	Fleet        string
	Model        string
	Protocol     string // link, vda5050, open-rmf, rest
	Control      fleet.Control
	Capabilities []string
	AllowedZones []fleet.ZoneID
	Priority     uint8
	RadiusM      float64
	MaxSpeedMPS  float64
	CreatedAt    time.Time
}

// Event is a recorded fact about one robot.
//
//sumtype:decl
type Event interface{ isRobotEvent() }

type (
	// Registered creates the robot or (Version > 1) changes what was registered.
	Registered struct {
		Spec    Spec
		Version int64 // 1, 2, …
	}
	// Removed deletes it.
	Removed struct{ Version int64 }
	// ConnectionChanged records ONLINE, STALE, OFFLINE.
	ConnectionChanged struct {
		From, To fleet.Connection
		At       time.Time
	}
	// CommandAccepted records a wish before it is told to the robot.
	CommandAccepted struct{ Command Command }
	// CommandStaged records a later stage.
	CommandStaged struct {
		ID     fleet.CommandID
		Stage  fleet.Stage
		At     time.Time
		Reason string
	}
)

func (Registered) isRobotEvent()        {}
func (Removed) isRobotEvent()           {}
func (ConnectionChanged) isRobotEvent() {}
func (CommandAccepted) isRobotEvent()   {}
func (CommandStaged) isRobotEvent()     {}

// Command is one wish of an operator.
type Command struct {
	ID        fleet.CommandID
	Robot     fleet.RobotID
	Kind      fleet.CommandKind
	Vertex    fleet.Vertex // go_to, charge; NoVertex otherwise
	Place     string       // as the client named it
	At        time.Time
	ExpiresAt time.Time
	By        fleet.UserID
}
