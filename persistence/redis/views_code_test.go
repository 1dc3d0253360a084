package redis

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
)

func at(t *rapid.T, name string) time.Time {
	us := rapid.Int64Range(0, 4e15).Draw(t, name)
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func TestWhatARobotShowsComesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id := fleet.RobotID(rapid.String().Draw(t, "id"))
		v := robot.View{
			ID: id, Version: rapid.Int64Min(0).Draw(t, "version"), Connection: fleet.Connection(rapid.Uint8().Draw(t, "connection")),
			State: fleet.RobotState(rapid.Uint8().Draw(t, "state")), Located: rapid.Bool().Draw(t, "located"), Linked: rapid.Bool().Draw(t, "linked"),
			Pose:  fleet.Pose{X: rapid.Float64().Draw(t, "x"), Y: rapid.Float64().Draw(t, "y"), Theta: rapid.Float64().Draw(t, "theta")},
			MapID: fleet.MapID(rapid.String().Draw(t, "map")), MapVersion: rapid.Int().Draw(t, "map version"),
			Vertex: fleet.Vertex(rapid.Int32().Draw(t, "vertex")), Zone: fleet.ZoneID(rapid.String().Draw(t, "zone")), Goal: fleet.Vertex(rapid.Int32().Draw(t, "goal")),
			Velocity: rapid.Float64().Draw(t, "velocity"), Battery: rapid.Float64Range(0, 1).Draw(t, "battery"),
			Task: fleet.TaskID(rapid.String().Draw(t, "task")), BootID: rapid.String().Draw(t, "boot"), Seq: rapid.Uint64().Draw(t, "seq"),
			ReportedAt: at(t, "reported"), ReceivedAt: at(t, "received"), Since: at(t, "since"),
		}
		for i := range rapid.IntRange(0, 2).Draw(t, "errors") {
			v.Errors = append(v.Errors, fleet.RobotError{Code: rapid.String().Draw(t, "code"), Level: fleet.ErrorLevel(i), Message: rapid.String().Draw(t, "message")})
		}
		if rapid.Bool().Draw(t, "waits") {
			v.Waiting = fleet.Wait{Robot: id, Cause: fleet.Cause(rapid.Uint8Min(1).Draw(t, "cause")), Holder: "h", Since: at(t, "waiting"), Tasked: true}
		}
		if rapid.Bool().Draw(t, "registered") {
			v.Spec = &robot.Spec{ID: id, Code: rapid.String().Draw(t, "robot code"), Capabilities: []string{"lift"}, AllowedZones: []fleet.ZoneID{"z"}, RadiusM: 0.3, CreatedAt: at(t, "created")}
		}
		spec, err := encodeSpec(v.Spec)
		if err != nil {
			t.Fatal(err)
		}
		b, err := encodeRobot(nil, &v, spec)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeRobot(b, true)
		for _, f := range []*float64{&v.Pose.X, &v.Pose.Y, &v.Pose.Theta, &v.Velocity} {
			*f += 0 // there is no negative zero
		}
		if err != nil || !reflect.DeepEqual(*back, v) {
			t.Fatalf("%s\n%+v\n%+v: %v", b, v, back, err)
		}
	})
}

func TestWhatATaskShowsComesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := task.View{
			Spec: task.Spec{
				ID: "t", Shard: fleet.Shard{Tenant: "a", Warehouse: "b"}, Type: fleet.Patrol, Priority: 9, EarliestStart: at(t, "earliest"), Deadline: at(t, "deadline"),
				Payload: []byte(`{"n":1}`), Errands: []fleet.Vertex{1, 2}, Places: []string{"p", rapid.String().Draw(t, "place")}, Source: "api", CreatedAt: at(t, "created"),
			},
			Status: fleet.TaskStatus(rapid.Uint8Range(0, 6).Draw(t, "status")), Robot: "r", Errand: rapid.Int().Draw(t, "errand"), Reason: rapid.String().Draw(t, "reason"),
			Version: rapid.Int64().Draw(t, "version"), Awards: 2, AssignedAt: at(t, "assigned"), StartedAt: at(t, "started"), FinishedAt: at(t, "finished"), UpdatedAt: at(t, "updated"),
		}
		b, err := encodeTask(nil, &v)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeTask(b)
		if err != nil || !reflect.DeepEqual(*back, v) {
			t.Fatalf("%s\n%+v\n%+v: %v", b, v, back, err)
		}
	})
}

func TestRanksOrderAsTheirNumbersDo(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		draw := func() (fleet.Incarnation, int64) {
			return fleet.Incarnation(rapid.Int64Range(0, 1<<52).Draw(t, "inc")), rapid.Int64Range(0, 1<<53-1).Draw(t, "n")
		}
		ai, an := draw()
		bi, bn := draw()
		a, b := string(appendRank(nil, ai, an)), string(appendRank(nil, bi, bn))
		if len(a) != rankLen || len(b) != rankLen || (a < b) != (ai < bi || ai == bi && an < bn) {
			t.Fatalf("%s %s", a, b)
		}
	})
}

func FuzzEntriesOfStrangers(f *testing.F) {
	f.Add(`{"id":"r","at":-1,"goal":-1,"spec":{"ID":"r"}}`)
	f.Fuzz(func(_ *testing.T, s string) {
		_, body, err := split(s)
		if err != nil {
			return
		}
		_, _ = decodeRobot([]byte(body), true)
		_, _ = decodeTask([]byte(body))
	})
}

func BenchmarkEncodeARobot(b *testing.B) {
	v := robot.View{
		ID: "0b0e1b0c-0000-4000-8000-000000000001", Version: 1, Located: true, Pose: fleet.Pose{X: 12.25, Y: 80.125, Theta: 1.5}, Velocity: 1.2, Battery: 0.83,
		ReportedAt: time.UnixMicro(1.7e15), ReceivedAt: time.UnixMicro(1.7e15), Task: "0b0e1b0c-0000-4000-8000-000000000002", Seq: 12345,
		Spec: &robot.Spec{ID: "0b0e1b0c-0000-4000-8000-000000000001", Code: "amr-00001", Fleet: "amr", Protocol: "link"},
	}
	spec, _ := encodeSpec(v.Spec)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = encodeRobot(buf[:0], &v, spec)
	}
	b.ReportMetric(float64(len(buf)), "bytes")
}
