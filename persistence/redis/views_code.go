package redis

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
)

// rankLen is the length of an entry's rank: 16 digits of the incarnation, 16 of a number that rises within it.
const rankLen = 32

// appendRank writes a rank as the scripts compare it. Both parts stay below 2^53, where doubles are exact.
func appendRank(b []byte, inc fleet.Incarnation, n int64) []byte {
	return fmt.Appendf(b, "%016d%016d", max(0, int64(inc)), max(0, n))
}

// robotEntry is a robot's view as it stands in Redis. Enumerations are their numbers; a new field is optional.
type robotEntry struct {
	ID         fleet.RobotID      `json:"id"`
	Spec       json.RawMessage    `json:"spec,omitempty"`
	Version    int64              `json:"v"`
	Connection fleet.Connection   `json:"conn"`
	State      fleet.RobotState   `json:"state"`
	X          float64            `json:"x,omitempty"`
	Y          float64            `json:"y,omitempty"`
	Theta      float64            `json:"theta,omitempty"`
	Located    bool               `json:"located,omitempty"`
	Linked     bool               `json:"linked,omitempty"`
	MapID      fleet.MapID        `json:"map,omitempty"`
	MapVersion int                `json:"map_v,omitempty"`
	Vertex     fleet.Vertex       `json:"at"`
	Zone       fleet.ZoneID       `json:"zone,omitempty"`
	Goal       fleet.Vertex       `json:"goal"`
	Velocity   float64            `json:"speed,omitempty"`
	Battery    float64            `json:"soc,omitempty"`
	Errors     []fleet.RobotError `json:"errors,omitempty"`
	Task       fleet.TaskID       `json:"task,omitempty"`
	Boot       string             `json:"boot,omitempty"`
	Seq        uint64             `json:"seq,omitempty"`
	Reported   int64              `json:"reported,omitempty"` // us since 1970, 0 = never
	Received   int64              `json:"received,omitempty"`
	Since      int64              `json:"since,omitempty"`
	Wait       *fleet.Wait        `json:"wait,omitempty"`
	Move       *robot.Move        `json:"move,omitempty"`
}

// encodeRobot writes a robot's view; spec is its registration, encoded. It is written for every robot in every round: by
// hand it takes half a microsecond and allocates nothing.
func encodeRobot(b []byte, v *robot.View, spec []byte) ([]byte, error) {
	w := jsonWriter{b: append(b, '{')}
	w.text("id", string(v.ID))
	if len(spec) > 0 {
		w.name("spec")
		w.b = append(w.b, spec...)
	}
	w.whole("v", v.Version)
	w.whole("conn", int64(v.Connection))
	w.whole("state", int64(v.State))
	w.real("x", v.Pose.X)
	w.real("y", v.Pose.Y)
	w.real("theta", v.Pose.Theta)
	w.yes("located", v.Located)
	w.yes("linked", v.Linked)
	w.text("map", string(v.MapID))
	w.some("map_v", int64(v.MapVersion))
	w.whole("at", int64(v.Vertex))
	w.text("zone", string(v.Zone))
	w.whole("goal", int64(v.Goal))
	w.real("speed", v.Velocity)
	w.real("soc", v.Battery)
	w.text("task", string(v.Task))
	w.text("boot", v.BootID)
	if v.Seq != 0 {
		w.name("seq")
		w.b = strconv.AppendUint(w.b, v.Seq, 10)
	}
	w.some("reported", micro(v.ReportedAt))
	w.some("received", micro(v.ReceivedAt))
	w.some("since", micro(v.Since))
	if len(v.Errors) > 0 {
		w.other("errors", v.Errors)
	}
	if v.Waiting.Cause != fleet.CauseNone {
		w.other("wait", &v.Waiting)
	}
	if v.Move.Kind != robot.NoMove {
		w.other("move", &v.Move)
	}
	if w.err != nil {
		return b, fmt.Errorf("encode the view of robot %s: %w", v.ID, w.err)
	}
	return append(w.b, '}'), nil
}

// jsonWriter writes the members of an object; zero values are left out by all but whole.
type jsonWriter struct {
	b   []byte
	err error
}

func (w *jsonWriter) name(n string) {
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.b = append(append(append(w.b, '"'), n...), '"', ':')
}

func (w *jsonWriter) whole(n string, v int64) {
	w.name(n)
	w.b = strconv.AppendInt(w.b, v, 10)
}

func (w *jsonWriter) some(n string, v int64) {
	if v != 0 {
		w.whole(n, v)
	}
}

func (w *jsonWriter) yes(n string, v bool) {
	if v {
		w.name(n)
		w.b = append(w.b, "true"...)
	}
}

func (w *jsonWriter) real(n string, v float64) {
	if v == 0 {
		return
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		w.err = fmt.Errorf("%s is no number: %w", n, errEntry)
		return
	}
	w.name(n)
	w.b = strconv.AppendFloat(w.b, v, 'g', -1, 64)
}

func (w *jsonWriter) text(n, v string) {
	if v == "" {
		return
	}
	for i := range len(v) {
		if c := v[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			w.other(n, v)
			return
		}
	}
	w.name(n)
	w.b = append(append(append(w.b, '"'), v...), '"')
}

func (w *jsonWriter) other(n string, v any) {
	j, err := json.Marshal(v)
	if err != nil {
		w.err = err
		return
	}
	w.name(n)
	w.b = append(w.b, j...)
}

// decodeRobot reads a robot's view, with its registration where that is wanted: it is half of the work.
func decodeRobot(b []byte, registration bool) (*robot.View, error) {
	var e robotEntry
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("decode the view of a robot: %w", err)
	}
	v := &robot.View{
		ID: e.ID, Version: e.Version, Connection: e.Connection, State: e.State, Pose: fleet.Pose{X: e.X, Y: e.Y, Theta: e.Theta},
		Located: e.Located, Linked: e.Linked, MapID: e.MapID, MapVersion: e.MapVersion, Vertex: e.Vertex, Zone: e.Zone, Goal: e.Goal,
		Velocity: e.Velocity, Battery: e.Battery, Errors: e.Errors, Task: e.Task, BootID: e.Boot, Seq: e.Seq,
		ReportedAt: unmicro(e.Reported), ReceivedAt: unmicro(e.Received), Since: unmicro(e.Since),
	}
	if registration && len(e.Spec) > 0 {
		v.Spec = &robot.Spec{}
		if err := json.Unmarshal(e.Spec, v.Spec); err != nil {
			return nil, fmt.Errorf("decode the registration of robot %s: %w", e.ID, err)
		}
	}
	if e.Wait != nil {
		v.Waiting = *e.Wait
	}
	if e.Move != nil {
		v.Move = *e.Move
	}
	return v, nil
}

func micro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func unmicro(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// encodeTask writes a task: the exported part of its state is all that others may see.
func encodeTask(b []byte, v *task.View) ([]byte, error) {
	j, err := json.Marshal(v)
	if err != nil {
		return b, fmt.Errorf("encode the view of task %s: %w", v.Spec.ID, err)
	}
	return append(b, j...), nil
}

// decodeTask reads a task.
func decodeTask(b []byte) (*task.View, error) {
	var v task.View
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, fmt.Errorf("decode the view of a task: %w", err)
	}
	return &v, nil
}

var errEntry = errors.New("an entry has another shape")

// split takes an entry apart; an empty body says that there is nothing any more.
func split(entry string) (rank, body string, err error) {
	if len(entry) < rankLen {
		return "", "", errEntry
	}
	return entry[:rankLen], entry[rankLen:], nil
}

// encodeSpec encodes a registration.
func encodeSpec(s *robot.Spec) (json.RawMessage, error) {
	if s == nil {
		return nil, nil
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode the registration of robot %s: %w", s.ID, err)
	}
	return b, nil
}
