package stream

import (
	"encoding/json"
	"math"
	"strconv"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
)

// fixedJSON is the part of a robot's JSON that its registration makes, up to where its connection follows.
func fixedJSON(s *robot.Spec) []byte {
	zones := make([]string, 0, len(s.AllowedZones))
	for _, z := range s.AllowedZones {
		zones = append(zones, string(z))
	}
	text := func(v string) *string {
		if v == "" {
			return nil
		}
		return &v
	}
	caps := s.Capabilities
	if caps == nil {
		caps = []string{}
	}
	b, _ := json.Marshal(struct {
		RobotID      string   `json:"robot_id"`
		Code         string   `json:"robot_code"`
		DisplayName  *string  `json:"display_name"`
		Fleet        *string  `json:"fleet"`
		Model        *string  `json:"model"`
		Protocol     string   `json:"protocol"`
		WarehouseID  string   `json:"warehouse_id"`
		Capabilities []string `json:"capabilities"`
		AllowedZones []string `json:"allowed_zones"`
		Priority     int      `json:"priority"`
		RadiusM      float64  `json:"footprint_radius_m"`
		MaxSpeedMPS  float64  `json:"max_speed_mps"`
		Control      string   `json:"control"`
		CreatedAt    string   `json:"created_at"`
	}{
		string(s.ID), s.Code, text(s.DisplayName), text(s.Fleet), text(s.Model), s.Protocol, string(s.Warehouse), caps, zones,
		int(s.Priority), s.RadiusM, s.MaxSpeedMPS, s.Control.String(), stamp(s.CreatedAt),
	})
	return b[:len(b)-1]
}

// appendRobot appends a robot's JSON as REST renders it, up to the value of age_ms, which stands last.
func appendRobot(b, fixed []byte, v *robot.View, g *roadmap.Graph) []byte {
	if fixed == nil {
		b = append(b, `{"robot_id":"`...)
		b = append(append(b, v.ID...), '"')
	} else {
		b = append(b, fixed...)
	}
	text := func(name, value string) {
		b = append(append(append(b, `,"`...), name...), `":`...)
		if value == "" {
			b = append(b, "null"...)
			return
		}
		b = append(append(append(b, '"'), value...), '"')
	}
	text("connection", v.Connection.String())
	state := ""
	if v.State != fleet.StateUnknown {
		state = v.State.String()
	}
	text("state", state)
	if v.Located {
		b = append(b, `,"pose":{"x":`...)
		b = number(b, v.Pose.X, 1000)
		b = append(b, `,"y":`...)
		b = number(b, v.Pose.Y, 1000)
		b = append(b, `,"theta":`...)
		b = number(b, v.Pose.Theta, 10000)
		text("map_id", string(v.MapID))
		b = append(b, `},"velocity_mps":`...)
		b = number(b, v.Velocity, 1000)
		b = append(b, `,"battery_soc":`...)
		b = number(b, v.Battery, 10000)
	} else {
		b = append(b, `,"pose":null,"velocity_mps":null,"battery_soc":null`...)
	}
	vertex := ""
	if g != nil && v.Vertex >= 0 && int(v.Vertex) < len(g.Vertices) {
		vertex = g.Vertices[v.Vertex].ID
	}
	b = append(b, `,"vertex":`...)
	if vertex == "" {
		b = append(b, "null"...)
	} else {
		q, _ := json.Marshal(vertex)
		b = append(b, q...)
	}
	text("task_id", string(v.Task))
	b = append(b, `,"errors":`...)
	b = appendErrors(b, v.Errors)
	if v.Waiting.Cause != fleet.CauseNone {
		text("waiting", v.Waiting.Cause.String())
		text("waiting_since", stamp(v.Waiting.Since))
	} else {
		b = append(b, `,"waiting":null,"waiting_since":null`...)
	}
	b = append(b, `,"version":`...)
	b = strconv.AppendInt(b, v.Version, 10)
	return append(b, `,"age_ms":`...)
}

// number writes a number with as many digits after the point as of has zeros.
func number(b []byte, v, of float64) []byte {
	return strconv.AppendFloat(b, math.Round(v*of)/of, 'f', -1, 64)
}

type robotError struct {
	Code    string `json:"code"`
	Level   string `json:"level"`
	Message string `json:"message"`
}

func appendErrors(b []byte, errs []fleet.RobotError) []byte {
	if len(errs) == 0 {
		return append(b, "[]"...)
	}
	out := make([]robotError, len(errs))
	for i, e := range errs {
		out[i] = robotError{e.Code, e.Level.String(), e.Message}
	}
	j, _ := json.Marshal(out)
	return append(b, j...)
}

type stop struct {
	Vertex string  `json:"vertex"`
	X      float64 `json:"x"`
	Y      float64 `json:"y"`
}

type orderJSON struct {
	OrderID    uint64  `json:"order_id"`
	Base       []stop  `json:"base"`
	Horizon    []stop  `json:"horizon"`
	Goal       *stop   `json:"goal"`
	Window     int     `json:"window"`
	LeaseUntil *string `json:"lease_until"`
}

// order appends where a robot may drive, and means to.
func (m *mirror) order(b []byte, x *mirrored) []byte {
	v, _, ok := m.hub.views.Robots.Get(x.id)
	g := m.graph(x.warehouse, &v)
	if !ok || g == nil {
		return append(b, "null"...)
	}
	at := func(vs ...fleet.Vertex) []stop {
		out := make([]stop, 0, len(vs))
		for _, i := range vs {
			if i >= 0 && int(i) < len(g.Vertices) {
				w := &g.Vertices[i]
				out = append(out, stop{w.ID, w.X, w.Y})
			}
		}
		return out
	}
	o := orderJSON{OrderID: v.OrderID, Base: at(v.Base...), Horizon: at(v.Horizon...), Window: v.Window}
	if goal := at(v.Goal); len(goal) > 0 {
		o.Goal = &goal[0]
	}
	if !v.Lease.IsZero() && len(v.Base) > 0 {
		until := stamp(v.Lease)
		o.LeaseUntil = &until
	}
	j, _ := json.Marshal(o)
	return append(b, j...)
}
