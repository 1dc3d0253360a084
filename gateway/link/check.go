package link

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	linkv1 "starling/proto/gen/starling/link/v1"
)

// The bounds of frames.
const (
	maxFrame     = 256 << 10
	maxHellos    = 1000
	maxStatuses  = 500
	maxEntries   = 1000
	maxErrors    = 32
	maxBoot      = 64
	maxText      = 512
	maxBase      = 1000
	maxPosition  = 1e6
	maxTime      = 253402300799999 // the last millisecond of year 9999: what JSON and SQL can write
	protocolVers = 1
)

// fault names what is wrong with a frame: field and problem, never a value.
type fault struct{ field, problem string }

func (f *fault) Error() string { return f.field + ": " + f.problem }

func bad(field, problem string) error { return &fault{field, problem} }

// checkStatuses holds a batch against its bounds. handles is how many the stream has given out.
func checkStatuses(b *linkv1.StatusBatch, handles int) error {
	n := len(b.Handle)
	if n < 1 || n > maxStatuses {
		return bad("statuses.handle", fmt.Sprintf("want 1..%d entries", maxStatuses))
	}
	for _, c := range [...]struct {
		name string
		n    int
	}{
		{"seq", len(b.Seq)},
		{"ts_ms", len(b.TsMs)},
		{"x", len(b.X)},
		{"y", len(b.Y)},
		{"theta", len(b.Theta)},
		{"velocity_mps", len(b.VelocityMps)},
		{"battery_soc", len(b.BatterySoc)},
		{"state", len(b.State)},
	} {
		if c.n != n {
			return bad("statuses."+c.name, "want as many entries as handle")
		}
	}
	if len(b.Mode) != 0 && len(b.Mode) != n {
		return bad("statuses.mode", "want none, or as many entries as handle")
	}
	for i, h := range b.Handle {
		switch {
		case h < 1 || int(h) > handles:
			return bad("statuses.handle", "unknown handle")
		case !timely(b.TsMs[i]):
			return bad("statuses.ts_ms", "want a time of the years 1970..9999")
		case !within(b.X[i], maxPosition):
			return bad("statuses.x", "must be finite and within ±1e6 m")
		case !within(b.Y[i], maxPosition):
			return bad("statuses.y", "must be finite and within ±1e6 m")
		case !within(b.Theta[i], 100):
			return bad("statuses.theta", "must be finite and within ±100")
		case !within(b.VelocityMps[i], 100):
			return bad("statuses.velocity_mps", "must be finite and within ±100")
		case !(b.BatterySoc[i] >= 0 && b.BatterySoc[i] <= 1):
			return bad("statuses.battery_soc", "want 0..1")
		case b.State[i] < linkv1.RobotState_ROBOT_STATE_IDLE || b.State[i] > linkv1.RobotState_ROBOT_STATE_MANUAL:
			return bad("statuses.state", "unknown state")
		}
	}
	for _, m := range b.Mode {
		if m < 0 || m > linkv1.OperatingMode_OPERATING_MODE_TEACHIN {
			return bad("statuses.mode", "unknown mode")
		}
	}
	return checkSparse(b, handles)
}

// checkSparse holds the columns to their bounds that have entries for some of the robots alone.
func checkSparse(b *linkv1.StatusBatch, handles int) error {
	n := len(b.Handle)
	if len(b.Errors) > n {
		return bad("statuses.errors", "want at most one entry a robot")
	}
	if len(b.Load) > n {
		return bad("statuses.load", "want at most one entry a robot")
	}
	for _, l := range b.Load {
		switch {
		case l.Handle < 1 || int(l.Handle) > handles:
			return bad("statuses.load.handle", "unknown handle")
		case !text(l.LoadId, maxText):
			return bad("statuses.load.load_id", badText)
		case !text(l.LoadType, maxText):
			return bad("statuses.load.load_type", badText)
		case !(l.WeightKg >= 0 && l.WeightKg <= maxPosition):
			return bad("statuses.load.weight_kg", "want 0..1e6")
		}
	}
	for _, e := range b.Errors {
		if err := checkErrors(e, handles); err != nil {
			return err
		}
	}
	return nil
}

func checkErrors(e *linkv1.RobotErrors, handles int) error {
	if e.Handle < 1 || int(e.Handle) > handles {
		return bad("statuses.errors.handle", "unknown handle")
	}
	if len(e.Errors) > maxErrors {
		return bad("statuses.errors", fmt.Sprintf("want at most %d errors a robot", maxErrors))
	}
	for _, x := range e.Errors {
		if !text(x.Code, 64) {
			return bad("statuses.errors.code", badText)
		}
		if !text(x.Message, maxText) {
			return bad("statuses.errors.message", badText)
		}
		if x.Level < linkv1.ErrorLevel_ERROR_LEVEL_INFO || x.Level > linkv1.ErrorLevel_ERROR_LEVEL_FATAL {
			return bad("statuses.errors.level", "unknown level")
		}
	}
	return nil
}

func within(x float32, bound float64) bool { return math.Abs(float64(x)) <= bound } // false for NaN

func timely(ms int64) bool { return ms >= 0 && ms <= maxTime }

const badText = "want UTF-8 without NUL, not too long"

// text says whether s is at most most bytes long, and something that every store and JSON can take: the decoder lets
// any bytes pass.
func text(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

func checkHello(h *linkv1.Hello) error {
	switch {
	case h.ProtocolVersion != protocolVers:
		return bad("hello.protocol_version", "want 1")
	case len(h.Robots) < 1 || len(h.Robots) > maxHellos:
		return bad("hello.robots", fmt.Sprintf("want 1..%d robots", maxHellos))
	case !text(h.Agent, maxText):
		return bad("hello.agent", badText)
	case !text(h.WarehouseId, 36):
		return bad("hello.warehouse_id", badText)
	}
	for _, r := range h.Robots {
		switch {
		case r.RobotId == "" && r.RobotCode == "":
			return bad("hello.robots.robot_id", "want robot_id or robot_code")
		case !text(r.RobotId, 36):
			return bad("hello.robots.robot_id", badText)
		case !text(r.RobotCode, 128):
			return bad("hello.robots.robot_code", badText)
		case !text(r.BootId, maxBoot):
			return bad("hello.robots.boot_id", badText)
		case r.Pose != nil && !(math.Abs(r.Pose.X) <= maxPosition && math.Abs(r.Pose.Y) <= maxPosition && math.Abs(r.Pose.Theta) <= 100):
			return bad("hello.robots.pose", "must be finite and within ±1e6 m")
		}
		if err := checkResume(r.Resume); err != nil {
			return err
		}
	}
	return nil
}

func checkResume(r *linkv1.Resume) error {
	switch {
	case r == nil:
		return nil
	case len(r.Base) > maxBase:
		return bad("hello.robots.resume.base", fmt.Sprintf("want at most %d vertices", maxBase))
	case r.AtVertex != nil && *r.AtVertex > math.MaxInt32:
		return bad("hello.robots.resume.at_vertex", "not a vertex")
	case !within(r.Heading, 100):
		return bad("hello.robots.resume.heading", "want a finite angle within ±100")
	}
	for _, v := range r.Base {
		if v > math.MaxInt32 {
			return bad("hello.robots.resume.base", "not a vertex")
		}
	}
	return nil
}

func checkProgress(field string, entries []*linkv1.Progress, handles int) error {
	if len(entries) > maxEntries {
		return bad(field, fmt.Sprintf("want at most %d entries", maxEntries))
	}
	for _, p := range entries {
		switch {
		case p.Handle < 1 || int(p.Handle) > handles:
			return bad(field+".handle", "unknown handle")
		case p.Number == 0:
			return bad(field+".number", "numbers start at 1")
		case p.Vertex > math.MaxInt32:
			return bad(field+".vertex", "not a vertex")
		case !timely(p.AtMs):
			return bad(field+".at_ms", "want a time of the years 1970..9999")
		case !within(p.Heading, 100):
			return bad(field+".heading", "want a finite angle within ±100")
		case p.Kind < 0 || p.Kind > linkv1.ProgressKind_PROGRESS_KIND_ACTION_FAILED:
			return bad(field+".kind", "unknown kind")
		}
	}
	return nil
}

func checkAcks(b *linkv1.AckBatch, handles int) error {
	if len(b.Commands)+len(b.Orders) > maxEntries {
		return bad("acks", fmt.Sprintf("want at most %d entries", maxEntries))
	}
	for _, a := range b.Commands {
		switch {
		case a.Handle < 1 || int(a.Handle) > handles:
			return bad("acks.commands.handle", "unknown handle")
		case len(a.CommandId) != 36:
			return bad("acks.commands.command_id", "want a uuid")
		case !text(a.Reason, maxText):
			return bad("acks.commands.reason", badText)
		case a.Stage < linkv1.CommandStage_COMMAND_STAGE_ACKNOWLEDGED || a.Stage > linkv1.CommandStage_COMMAND_STAGE_FAILED:
			return bad("acks.commands.stage", "unknown stage")
		}
	}
	for _, a := range b.Orders {
		if a.Handle < 1 || int(a.Handle) > handles {
			return bad("acks.orders.handle", "unknown handle")
		}
		if !text(a.Refused, maxText) {
			return bad("acks.orders.refused", badText)
		}
	}
	return nil
}
