package rest

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/gateway/auth"
	"starling/gateway/quota"
)

type poseBody struct {
	X     float64  `json:"x"`
	Y     float64  `json:"y"`
	Theta float64  `json:"theta"`
	MapID *string  `json:"map_id"`
	_     struct{} `nullable:"true"`
}

type robotErrorBody struct {
	Code    string `json:"code" minLength:"1" maxLength:"64"`
	Level   string `json:"level" enum:"INFO,WARNING,FATAL"`
	Message string `json:"message" maxLength:"512"`
}

type robotBody struct {
	RobotID      string           `json:"robot_id" format:"uuid"`
	Code         string           `json:"robot_code"`
	DisplayName  *string          `json:"display_name"`
	Fleet        *string          `json:"fleet"`
	Model        *string          `json:"model"`
	Protocol     string           `json:"protocol" enum:"link,vda5050,open-rmf,rest"`
	WarehouseID  string           `json:"warehouse_id" format:"uuid"`
	Capabilities []string         `json:"capabilities"`
	AllowedZones []string         `json:"allowed_zones"`
	Priority     int              `json:"priority"`
	RadiusM      float64          `json:"footprint_radius_m"`
	MaxSpeedMPS  float64          `json:"max_speed_mps"`
	Control      string           `json:"control" enum:"engine,external,mirrored,autonomous"`
	Connection   string           `json:"connection" enum:"ONLINE,STALE,OFFLINE,NEVER_SEEN"`
	State        *string          `json:"state" enum:"IDLE,MOVING,WAITING,CHARGING,PAUSED,ERROR,MANUAL"`
	Pose         *poseBody        `json:"pose"`
	Vertex       *string          `json:"vertex"`
	VelocityMPS  *float64         `json:"velocity_mps"`
	BatterySOC   *float64         `json:"battery_soc"`
	TaskID       *string          `json:"task_id"`
	AgeMS        *int64           `json:"age_ms" doc:"since the last status was received"`
	Errors       []robotErrorBody `json:"errors"`
	Waiting      *string          `json:"waiting" doc:"what it waits for, null while it moves or has nothing to do"`
	WaitingSince *string          `json:"waiting_since"`
	Version      int64            `json:"version"`
	CreatedAt    string           `json:"created_at" format:"date-time"`
}

// aged is a stored connection as it is now: while nobody holds the robot nobody writes that it has fallen silent.
func aged(c fleet.Connection, silent time.Duration) fleet.Connection {
	switch {
	case c != fleet.Online && c != fleet.Stale:
		return c
	case silent >= robot.OfflineAfter:
		return fleet.Offline
	case silent >= robot.StaleAfter:
		return fleet.Stale
	}
	return c
}

// robots renders rows.
func (a *api) robotsOf(ctx context.Context) func(*Robot) robotBody {
	return func(r *Robot) robotBody { return a.robotOf(ctx, r) }
}

// robotOf renders a stored robot with its newest view over it.
func (a *api) robotOf(ctx context.Context, r *Robot) robotBody {
	s := &r.Spec
	b := robotBody{
		RobotID: string(s.ID), Code: s.Code, DisplayName: text(s.DisplayName), Fleet: text(s.Fleet), Model: text(s.Model), Protocol: s.Protocol,
		WarehouseID: string(s.Warehouse), Capabilities: nonNil(s.Capabilities), AllowedZones: []string{}, Priority: int(s.Priority),
		RadiusM: s.RadiusM, MaxSpeedMPS: s.MaxSpeedMPS, Control: s.Control.String(), Connection: r.Last.Connection.String(),
		Errors: []robotErrorBody{}, Version: r.Version, CreatedAt: ts(s.CreatedAt),
	}
	for _, z := range s.AllowedZones {
		b.AllowedZones = append(b.AllowedZones, string(z))
	}
	if l := &r.Last; !l.ReportedAt.IsZero() {
		silent := max(0, a.Now().Sub(l.ReportedAt))
		age := silent.Milliseconds()
		b.Connection = aged(l.Connection, silent).String()
		b.Pose, b.BatterySOC, b.AgeMS, b.State = &poseBody{X: l.Pose.X, Y: l.Pose.Y, Theta: l.Pose.Theta}, &l.Battery, &age, stateName(l.State)
	}
	if a.Views != nil {
		if v, _, ok := a.Views.Robot(fleet.Shard{Tenant: s.Tenant, Warehouse: s.Warehouse}, s.ID); ok {
			a.overlay(ctx, &b, &v)
			return b
		}
	}
	if v := r.Seen; v != nil {
		a.overlay(ctx, &b, v)
		if !v.ReceivedAt.IsZero() { // whoever wrote it may be gone
			b.Connection = aged(v.Connection, max(0, a.Now().Sub(v.ReceivedAt))).String()
		}
	}
	return b
}

func stateName(s fleet.RobotState) *string {
	if s == fleet.StateUnknown {
		return nil
	}
	return text(s.String())
}

func (a *api) overlay(ctx context.Context, b *robotBody, v *robot.View) {
	b.Connection, b.TaskID, b.State = v.Connection.String(), text(v.Task), stateName(v.State)
	if v.Located {
		b.Pose, b.VelocityMPS, b.BatterySOC = &poseBody{X: v.Pose.X, Y: v.Pose.Y, Theta: v.Pose.Theta, MapID: text(v.MapID)}, &v.Velocity, &v.Battery
	}
	if !v.ReceivedAt.IsZero() {
		age := max(0, a.Now().Sub(v.ReceivedAt).Milliseconds())
		b.AgeMS = &age
	}
	if v.Vertex != fleet.NoVertex && a.Engine != nil && v.Spec != nil {
		g, err := a.Engine.ActiveGraph(ctx, fleet.Shard{Tenant: v.Spec.Tenant, Warehouse: v.Spec.Warehouse})
		if err == nil && g != nil && int(v.Vertex) < len(g.Vertices) {
			b.Vertex = &g.Vertices[v.Vertex].ID
		}
	}
	if v.Waiting.Cause != fleet.CauseNone {
		b.Waiting, b.WaitingSince = text(v.Waiting.Cause.String()), tsp(v.Waiting.Since)
	}
	for _, e := range v.Errors {
		b.Errors = append(b.Errors, robotErrorBody{e.Code, e.Level.String(), e.Message})
	}
}

// RobotWish is what may be changed of a robot.
type RobotWish struct {
	DisplayName  *string   `json:"display_name,omitempty" maxLength:"200"`
	Fleet        *string   `json:"fleet,omitempty" maxLength:"64"`
	Model        *string   `json:"model,omitempty" maxLength:"200"`
	Capabilities *[]string `json:"capabilities,omitempty" maxItems:"64"`
	AllowedZones *[]string `json:"allowed_zones,omitempty" maxItems:"256"`
	Priority     *whole    `json:"priority,omitempty" minimum:"0" maximum:"9"`
	RadiusM      *float64  `json:"footprint_radius_m,omitempty" minimum:"0.01" maximum:"20"`
	MaxSpeedMPS  *float64  `json:"max_speed_mps,omitempty" minimum:"0.01" maximum:"50"`
}

type newRobot struct {
	Code        string `json:"robot_code" minLength:"1" maxLength:"64"`
	Protocol    string `json:"protocol" enum:"link,vda5050,open-rmf,rest"`
	WarehouseID uid    `json:"warehouse_id" format:"uuid"`
	RobotWish
}

// put fills spec with what is wished.
func (w *RobotWish) put(s *robot.Spec) {
	set := func(to, v *string) {
		if v != nil {
			*to = *v
		}
	}
	set(&s.DisplayName, w.DisplayName)
	set(&s.Fleet, w.Fleet)
	set(&s.Model, w.Model)
	if w.Capabilities != nil {
		s.Capabilities = *w.Capabilities
	}
	if w.AllowedZones != nil {
		s.AllowedZones = nil
		for _, z := range *w.AllowedZones {
			s.AllowedZones = append(s.AllowedZones, fleet.ZoneID(strings.ToLower(z)))
		}
	}
	if w.Priority != nil {
		s.Priority = uint8(*w.Priority)
	}
	if w.RadiusM != nil {
		s.RadiusM = *w.RadiusM
	}
	if w.MaxSpeedMPS != nil {
		s.MaxSpeedMPS = *w.MaxSpeedMPS
	}
}

type robotOut struct {
	ETag string `header:"ETag"`
	Body robotBody
}

// RobotPath names a robot.
type RobotPath struct {
	ID      string `path:"robot_id" format:"uuid"`
	IfMatch string `header:"If-Match" minLength:"1"`
}

func (a *api) robots() {
	type create struct {
		Keyed
		RawBody []byte
		Body    newRobot
	}
	add(a, op{method: http.MethodPost, path: "/api/v1/robots", id: "create-robot", summary: "Register a robot", tag: "robots", status: 201, engine: true, answer: robotBody{}},
		func(ctx context.Context, who *auth.Identity, in *create) (*created, error) {
			return a.once(ctx, who.Tenant, "POST /robots", &in.Keyed, in.RawBody, func() (fact.Answer, func(*fact.Idempotency) error, error) {
				return a.newRobot(ctx, who, &in.Body)
			})
		})
	type query struct {
		Paged
		WarehouseID string `query:"warehouse_id" format:"uuid"`
		Fleet       string `query:"fleet" maxLength:"64"`
		Code        string `query:"robot_code" maxLength:"128"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/robots", id: "list-robots", summary: "Robots", tag: "robots"},
		func(ctx context.Context, who *auth.Identity, in *query) (*listed[robotBody], error) {
			f := fact.RobotFilter{Warehouse: fleet.WarehouseID(in.WarehouseID), Fleet: in.Fleet, Code: in.Code}
			var bad faults
			bad.printable("query.fleet", in.Fleet, 0, 64)
			bad.printable("query.robot_code", in.Code, 0, 128)
			if err := bad.err(); err != nil {
				return nil, err
			}
			l, err := a.Facts.ListRobots(ctx, who.Tenant, f, in.page())
			return listOf(l, a.robotsOf(ctx)), err
		})
	add(a, op{method: http.MethodGet, path: "/api/v1/robots/{robot_id}", id: "get-robot", summary: "A robot", tag: "robots"},
		func(ctx context.Context, who *auth.Identity, in *RobotPath) (*robotOut, error) {
			r, err := a.robot(ctx, who, in.ID)
			if err != nil {
				return nil, err
			}
			return &robotOut{etag(r.Version), a.robotOf(ctx, &r)}, nil
		})
	a.changeRobots()
}

func (a *api) changeRobots() {
	type patch struct {
		RobotPath
		Body RobotWish
	}
	add(a, op{method: http.MethodPatch, path: "/api/v1/robots/{robot_id}", id: "patch-robot", summary: "Change a robot's registration", tag: "robots", engine: true},
		func(ctx context.Context, who *auth.Identity, in *patch) (*robotOut, error) {
			r, err := a.changeRobot(ctx, who, in.ID, in.IfMatch, &in.Body)
			if err != nil {
				return nil, err
			}
			return &robotOut{etag(r.Version), a.robotOf(ctx, &r)}, nil
		})
	add(a, op{method: http.MethodDelete, path: "/api/v1/robots/{robot_id}", id: "delete-robot", summary: "Delete a robot's registration", tag: "robots", engine: true, status: 204},
		func(ctx context.Context, who *auth.Identity, in *RobotPath) (*struct{}, error) {
			r, err := a.robot(ctx, who, in.ID)
			if err != nil {
				return nil, err
			}
			v, err := ifMatch(in.IfMatch)
			if err != nil {
				return nil, err
			}
			return nil, a.Engine.RemoveRobot(ctx, fleet.Shard{Tenant: who.Tenant, Warehouse: r.Spec.Warehouse}, r.Spec.ID, v, by(who), traceOf(ctx))
		})
}

// robot reads a robot of the tenant.
func (a *api) robot(ctx context.Context, who *auth.Identity, id string) (Robot, error) {
	requestOf(ctx).robot = id
	return a.Facts.GetRobot(ctx, who.Tenant, fleet.RobotID(id))
}

// changeRobot changes a registration. Without If-Match another change that comes between reading and writing is no
// fault of the client: it is read again.
func (a *api) changeRobot(ctx context.Context, who *auth.Identity, id, header string, w *RobotWish) (Robot, error) {
	for try := 1; ; try++ {
		r, err := a.robot(ctx, who, id)
		if err != nil {
			return r, err
		}
		wanted, err := ifMatch(header)
		if err != nil {
			return r, err
		}
		v := wanted
		if v < 0 {
			v = r.Version
		}
		w.put(&r.Spec)
		_, err = a.Engine.RegisterRobot(ctx, r.Spec, v, by(who), traceOf(ctx), nil)
		var c *fact.ConflictError
		switch {
		case err == nil:
			return a.robot(ctx, who, id)
		case wanted < 0 && try < changeTries && errors.As(err, &c) && c.Key == "version":
		default:
			return r, err
		}
	}
}

// changeTries is how often an unconditional change is tried.
const changeTries = 16

func own(who *auth.Identity, s *robot.Spec) bool {
	return who.RobotID == s.ID || who.Fleet != "" && who.Fleet == s.Fleet
}

func (a *api) newRobot(ctx context.Context, who *auth.Identity, b *newRobot) (fact.Answer, func(*fact.Idempotency) error, error) {
	s := robot.Spec{
		ID: fleet.RobotID(uuid.NewString()), Tenant: who.Tenant, Warehouse: fleet.WarehouseID(b.WarehouseID), Code: b.Code, Protocol: b.Protocol,
		RadiusM: 0.3, MaxSpeedMPS: 1.5, CreatedAt: a.Now().Truncate(time.Millisecond),
	}
	if b.Protocol == "open-rmf" || b.Protocol == "rest" {
		s.Control = fleet.ControlExternal
	}
	b.put(&s)
	if _, err := a.shardOf(ctx, who, string(b.WarehouseID), "body.warehouse_id"); err != nil {
		return fact.Answer{}, nil, err
	}
	if err := a.roomForRobot(ctx, who.Tenant); err != nil {
		return fact.Answer{}, nil, err
	}
	requestOf(ctx).robot = string(s.ID)
	r := Robot{Spec: s, Version: 1}
	ans, err := render(201, "/api/v1/robots/"+string(s.ID), a.robotOf(ctx, &r))
	return ans, func(i *fact.Idempotency) error {
		_, err := a.Engine.RegisterRobot(ctx, s, 0, by(who), traceOf(ctx), i)
		return err
	}, err
}

type poseWish struct {
	X     float64 `json:"x" minimum:"-1000000" maximum:"1000000"`
	Y     float64 `json:"y" minimum:"-1000000" maximum:"1000000"`
	Theta float64 `json:"theta" minimum:"-100" maximum:"100"`
	MapID uid     `json:"map_id,omitempty" format:"uuid"`
}

// StatusWish is a robot's status as it comes in.
type StatusWish struct {
	BootID      string           `json:"boot_id,omitempty" maxLength:"64"`
	Seq         whole            `json:"seq" minimum:"0" maximum:"9007199254740991"`
	TS          time.Time        `json:"ts"`
	Pose        poseWish         `json:"pose"`
	VelocityMPS float64          `json:"velocity_mps,omitempty" minimum:"-100" maximum:"100"`
	BatterySOC  float64          `json:"battery_soc" minimum:"0" maximum:"1"`
	State       string           `json:"state" enum:"IDLE,MOVING,WAITING,CHARGING,PAUSED,ERROR,MANUAL"`
	Errors      []robotErrorBody `json:"errors,omitempty" maxItems:"32"`
}

type robotStatusWish struct {
	RobotID uid `json:"robot_id" format:"uuid"`
	StatusWish
}

type statusesWish struct {
	Items []robotStatusWish `json:"items" minItems:"1" maxItems:"1000"`
}

// message turns the wish into the core's message.
func (w *StatusWish) message(now time.Time) robot.StatusReported {
	state, _ := fleet.ParseRobotState(w.State)
	m := robot.StatusReported{
		BootID: w.BootID, Seq: uint64(w.Seq), At: w.TS.UTC(), ReceivedAt: now, Pose: fleet.Pose{X: w.Pose.X, Y: w.Pose.Y, Theta: w.Pose.Theta},
		MapID: fleet.MapID(w.Pose.MapID), Velocity: w.VelocityMPS, Battery: w.BatterySOC, State: state,
	}
	for _, e := range w.Errors {
		level, _ := fleet.ParseErrorLevel(e.Level)
		m.Errors = append(m.Errors, fleet.RobotError{Code: e.Code, Level: level, Message: e.Message})
	}
	return m
}

type acceptedBody struct {
	Accepted bool    `json:"accepted"`
	Reason   *string `json:"reason" doc:"stale_seq"`
}

type itemBody struct {
	Index    int      `json:"index"`
	Accepted bool     `json:"accepted"`
	Error    *errBody `json:"error"`
}

type verdictsBody struct {
	Items []itemBody `json:"items"`
}

type errBody struct {
	Code    string   `json:"code"`
	Message string   `json:"message"`
	_       struct{} `nullable:"true"`
}

// judged turns the core's verdict into an answer: an older number is not accepted and no error, anything else is.
func judged(accepted bool, reason string) (acceptedBody, error) {
	switch reason {
	case "clock_skew":
		return acceptedBody{}, invalid("body.ts", "more than five minutes from the engine's clock")
	case "off_map":
		return acceptedBody{}, invalid("body.pose", "the position is not on the map")
	case "unknown_map":
		return acceptedBody{}, invalid("body.pose.map_id", "not the active map")
	}
	return acceptedBody{accepted, text(reason)}, nil
}

func (a *api) statuses() {
	type post struct {
		ID   string `path:"robot_id" format:"uuid"`
		Body StatusWish
	}
	type out struct{ Body acceptedBody }
	add(a, op{method: http.MethodPost, path: "/api/v1/robots/{robot_id}/status", id: "post-status", summary: "Report a robot's status", tag: "robots", status: 202, engine: true},
		func(ctx context.Context, who *auth.Identity, in *post) (*out, error) {
			if err := a.spend(ctx, who.Tenant, quota.Statuses, 1); err != nil {
				return nil, err
			}
			b, err := a.reportStatus(ctx, who, in.ID, in.Body.message(a.Now()))
			return &out{b}, err
		})
	type batch struct{ Body statusesWish }
	type outs struct{ Body verdictsBody }
	add(a, op{method: http.MethodPost, path: "/api/v1/robots/status", id: "post-statuses", summary: "Report many robots' statuses", tag: "robots", engine: true},
		func(ctx context.Context, who *auth.Identity, in *batch) (*outs, error) {
			if err := a.spend(ctx, who.Tenant, quota.Statuses, len(in.Body.Items)); err != nil {
				return nil, err
			}
			o := &outs{}
			o.Body.Items = make([]itemBody, len(in.Body.Items))
			for i := range in.Body.Items {
				x := &in.Body.Items[i]
				item := itemBody{Index: i}
				b, err := a.reportStatus(ctx, who, string(x.RobotID), x.message(a.Now()))
				item.Accepted = b.Accepted
				if err != nil {
					if errors.Is(err, context.DeadlineExceeded) {
						return nil, err
					}
					e := table(err)
					item.Error = &errBody{Code: e.Body.Code, Message: e.Body.Message}
				}
				o.Body.Items[i] = item
			}
			return o, nil
		})
}

func (a *api) reportStatus(ctx context.Context, who *auth.Identity, id string, m robot.StatusReported) (acceptedBody, error) {
	r, err := a.Facts.GetRobot(ctx, who.Tenant, fleet.RobotID(id))
	if err != nil {
		return acceptedBody{}, err
	}
	requestOf(ctx).robot = id
	if !who.Has(auth.Admin, auth.Service) && !own(who, &r.Spec) {
		return acceptedBody{}, auth.ErrForbidden
	}
	accepted, reason, err := a.Engine.ReportStatus(ctx, fleet.Shard{Tenant: who.Tenant, Warehouse: r.Spec.Warehouse}, r.Spec.ID, m)
	if err != nil {
		return acceptedBody{}, err
	}
	return judged(accepted, reason)
}
