package link

import (
	"errors"
	"math"
	"testing"

	"google.golang.org/grpc/mem"

	"starling/engine/fleet"
	"starling/engine/robot"
	linkv1 "starling/proto/gen/starling/link/v1"
)

// strict fails the test when something out of bounds gets to a robot.
type strict struct{ t *testing.T }

func (s strict) Status(m *robot.StatusReported) {
	ok := func(x, most float64) bool { return math.Abs(x) <= most }
	if !ok(m.Pose.X, maxPosition) || !ok(m.Pose.Y, maxPosition) || !ok(m.Pose.Theta, 100) || !ok(m.Velocity, 100) || !ok(m.Battery, 1) ||
		m.At.Year() > 9999 || m.State < 1 || m.State > 7 || len(m.Errors) > maxErrors {
		s.t.Errorf("out of bounds: %+v", m)
	}
	for _, e := range m.Errors {
		if !text(e.Code, 64) || !text(e.Message, maxText) || e.Level > 2 {
			s.t.Errorf("error out of bounds: %+v", e)
		}
	}
}

func (s strict) Tell(m robot.Msg) bool {
	switch m := m.(type) {
	case robot.Progressed:
		if m.Number == 0 || m.Vertex < 0 || math.IsNaN(m.Heading) || m.At.Year() > 9999 {
			s.t.Errorf("out of bounds: %+v", m)
		}
	case robot.CommandAcknowledged:
		if len(m.ID) != 36 || m.Stage == 0 || !text(m.Reason, maxText) {
			s.t.Errorf("out of bounds: %+v", m)
		}
	default:
		s.t.Errorf("no frame says %T", m)
	}
	return true
}

// FuzzFrame: whatever bytes come, a frame is refused with a field that is named, or what reaches robots is in bounds.
func FuzzFrame(f *testing.F) {
	frames := []*linkv1.Uplink{
		batch(1, 2), batch(3), robotError(func(*linkv1.RobotError) {}), load(&linkv1.Load{Handle: 2, LoadId: "l"}),
		helloFrame(func(*linkv1.Hello, *linkv1.RobotHello) {}),
		progressFrame(&linkv1.Progress{Handle: 2, Number: 1, Vertex: 7, Kind: 2, AtMs: 1}), commandAck(func(*linkv1.CommandAck) {}),
		{Frame: &linkv1.Uplink_Goodbye{Goodbye: &linkv1.Goodbye{Handles: []uint32{1, 1}}}},
		{Frame: &linkv1.Uplink_Journal{Journal: &linkv1.Journal{Entries: []*linkv1.Progress{{Handle: 1, Number: 1}}}}},
	}
	for _, b := range badFrames() {
		if b.frame.SizeVT() < 4096 {
			frames = append(frames, b.frame)
		}
	}
	for _, m := range frames {
		raw, err := m.MarshalVT()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e := &engine{boxes: map[fleet.RobotID]*box{}, opened: map[fleet.RobotID][]uint64{}}
		x := newStream(New(Options{Auth: e, Directory: e, Engine: e}), nil, Identity{Tenant: "t", Any: true})
		x.robots = []*carried{{stream: x, handle: 1, id: "r1", box: strict{t}}, {stream: x, handle: 2, id: "r2", box: strict{t}}, {stream: x, handle: 3}}
		in := inbound{m: linkv1.UplinkFromVTPool()}
		defer in.m.ReturnToVTPool()
		if err := (Codec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(raw)}, &in); err != nil {
			t.Fatalf("the codec must leave faults to the frame: %v", err)
		}
		if in.fault != nil {
			return
		}
		var bad *fault
		if err := x.frame(t.Context(), in.m); errors.As(err, &bad) && (bad.field == "" || bad.problem == "") {
			t.Fatalf("a fault without a name: %v", err)
		}
	})
}
