package link

import (
	"context"
	"io"
	"slices"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"starling/engine/fleet"
	"starling/engine/robot"
	linkv1 "starling/proto/gen/starling/link/v1"
)

func TestWelcomesComeInTheOrderOfTheHello(t *testing.T) {
	t.Parallel()
	_, e, c := start(t, Options{})
	e.onOpen = func(id fleet.RobotID, _ robot.LinkOpened) error {
		time.Sleep(time.Duration(len(id)) * time.Millisecond) // those of short names are opened first
		return nil
	}
	e.progress = 41
	ss, _ := connect(t, c)
	ids := make([]string, 60)
	for i := range ids {
		ids[i] = "r" + strconv.Itoa(1000>>(i%10))
	}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	slices.Reverse(ids)
	hello(t, ss, ids...)
	w := recv(t, ss).GetWelcome()
	if len(w.Robots) != len(ids) || w.MapId != "m" || w.MapVersion != 1 || time.Since(time.UnixMilli(w.NowMs)).Abs() > time.Minute {
		t.Fatalf("welcome %v", w)
	}
	for i, r := range w.Robots {
		if r.RobotId != ids[i] || r.Handle != uint32(i+1) || r.Refused != "" || r.ProgressNumber != 41 {
			t.Errorf("%d: want %s with handle %d and progress 41, got %v", i, ids[i], i+1, r)
		}
	}
	hello(t, ss, "late")
	if r := recv(t, ss).GetWelcome().Robots[0]; r.Handle != uint32(len(ids)+1) {
		t.Errorf("a second hello goes on counting: %v", r)
	}
}

func TestWhatARobotRemembersReachesTheEngine(t *testing.T) {
	t.Parallel()
	_, e, c := start(t, Options{})
	opened := make(chan robot.LinkOpened, 1)
	e.onOpen = func(_ fleet.RobotID, m robot.LinkOpened) error { opened <- m; return nil }
	ss, _ := connect(t, c)
	at := uint32(7)
	h := &linkv1.Hello{ProtocolVersion: 1, WarehouseId: "w", Robots: []*linkv1.RobotHello{{
		RobotCode: "amr-1", BootId: "b", Pose: &linkv1.Pose{X: 1, Theta: 9},
		Resume: &linkv1.Resume{OrderId: 3, UpdateId: 4, ProgressNumber: 5, AtVertex: &at, Base: []uint32{8, 9}, Heading: 1.5, MapId: "m", MapVersion: 4},
	}}}
	if err := ss.Send(&linkv1.Uplink{Frame: &linkv1.Uplink_Hello{Hello: h}}); err != nil {
		t.Fatal(err)
	}
	if r := recv(t, ss).GetWelcome().Robots[0]; r.RobotId != "id of amr-1" || r.RobotCode != "amr-1" || r.Handle != 1 {
		t.Fatalf("found by code: %v", r)
	}
	m := <-opened
	if m.BootID != "b" || m.At != 7 || m.MapID != "m" || m.MapVersion != 4 || m.ProgressNo != 5 || m.Heading != 1.5 || !slices.Equal(m.Base, []fleet.Vertex{8, 9}) || m.Session == 0 {
		t.Errorf("resumed with %+v", m)
	}
	hello(t, ss, "r2")
	recv(t, ss)
	if m := <-opened; m.At != fleet.NoVertex || len(m.Base) != 0 {
		t.Errorf("a robot that remembers nothing resumed with %+v", m)
	}
}

func TestRefusedRobotsAreToldWhy(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		token, warehouse, robot, want string
	}{
		"any robot for an admin":                   {"x", "", "r1", ""},
		"a robot that is not registered":           {"x", "", "missing", "NOT_FOUND"},
		"a robot of another warehouse":             {"x", "elsewhere", "r1", "NOT_FOUND"},
		"a store that is away":                     {"x", "", "away", "UNAVAILABLE"},
		"role robot may carry itself":              {"robot r1", "", "r1", ""},
		"role robot may not carry others":          {"robot r1", "", "r2", "FORBIDDEN"},
		"role robot with a fleet may carry it":     {"fleet f", "", "f1", ""},
		"role robot with a fleet carries no other": {"fleet f", "", "r1", "FORBIDDEN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, e, c := start(t, Options{})
			ss, _ := connectAs(t, c, "authorization", "Bearer "+x.token)
			h := &linkv1.Hello{ProtocolVersion: 1, WarehouseId: x.warehouse, Robots: []*linkv1.RobotHello{{RobotId: x.robot}}}
			if err := ss.Send(&linkv1.Uplink{Frame: &linkv1.Uplink_Hello{Hello: h}}); err != nil {
				t.Fatal(err)
			}
			r := recv(t, ss).GetWelcome().Robots[0]
			carried := s.route(fleet.RobotID(x.robot)) != nil
			if r.Refused != x.want || (r.Handle == 0) != (x.want != "") || carried != (x.want == "") {
				t.Fatalf("want refusal %q, got %v, carried %v", x.want, r, carried)
			}
			if x.want == "" {
				return
			}
			for _, m := range []*linkv1.Uplink{
				batch(1), progressFrame(&linkv1.Progress{Handle: 1, Number: 1}), {Frame: &linkv1.Uplink_Goodbye{Goodbye: &linkv1.Goodbye{Handles: []uint32{1, 1}}}},
			} {
				if err := ss.Send(m); err != nil {
					t.Fatal(err)
				}
			}
			hello(t, ss, "f1") // answered when the frames before it have been read
			recv(t, ss)
			if b := e.box(fleet.RobotID(x.robot)); b.statuses.Load() > 0 || b.count() > 0 || len(e.ended()) > 0 {
				t.Errorf("a refused robot was heard: %d statuses, %d messages, closed %v", b.statuses.Load(), b.count(), e.ended())
			}
		})
	}
}

func TestWhoMayOpenAStream(t *testing.T) {
	t.Parallel()
	_, _, c := start(t, Options{})
	for name, x := range map[string]struct {
		md   []string
		want codes.Code
	}{
		"nobody":                    {nil, codes.Unauthenticated},
		"no bearer":                 {[]string{"authorization", "Basic x"}, codes.Unauthenticated},
		"an expired token":          {[]string{"authorization", "Bearer expired"}, codes.Unauthenticated},
		"a role without the link":   {[]string{"authorization", "Bearer viewer"}, codes.PermissionDenied},
		"an issuer that is away":    {[]string{"authorization", "Bearer unknown issuer"}, codes.Unavailable},
		"another tenant's robots":   {[]string{"authorization", "Bearer x", "x-tenant-id", "u"}, codes.OK},
		"a token of several, names": {[]string{"authorization", "Bearer x", "x-tenant-id", "t"}, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ss, _ := connectAs(t, c, x.md...)
			_ = ss.Send(helloFrame(func(*linkv1.Hello, *linkv1.RobotHello) {})) // an ended stream answers Recv below
			m, err := ss.Recv()
			if status.Code(err) != x.want {
				t.Fatalf("want %v, got %v", x.want, err)
			}
			if err == nil && (m.GetWelcome().Robots[0].Refused == "NOT_FOUND") != (x.md[3] == "u") {
				t.Errorf("welcome %v", m)
			}
		})
	}
}

func TestAStatusArrivesWhole(t *testing.T) {
	t.Parallel()
	_, e, c := start(t, Options{})
	e.boxes["r1"] = &box{keep: true}
	ss, _ := connect(t, c)
	hello(t, ss, "r1")
	recv(t, ss)
	first := batch(1, 1, 1)
	first.GetStatuses().TsMs = []int64{1500, 1501, 1502}
	first.GetStatuses().Errors = []*linkv1.RobotErrors{{Handle: 1, Errors: []*linkv1.RobotError{{Code: "c", Level: 3, Message: "m"}}}}
	second := batch(1)
	third := batch(1)
	third.GetStatuses().Errors = []*linkv1.RobotErrors{{Handle: 1}}
	for _, m := range []*linkv1.Uplink{first, second, third} {
		if err := ss.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	b := e.box("r1")
	if !until(5*time.Second, func() bool { return b.statuses.Load() == 5 }) {
		t.Fatal("lost: ", b.statuses.Load())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.last[1]
	if s.BootID != "b" || s.Seq != 2 || !s.At.Equal(time.UnixMilli(1501)) || s.ReceivedAt.IsZero() || s.Pose != (fleet.Pose{X: 1, Y: 2}) ||
		s.Velocity != 1 || s.Battery != .5 || s.State != fleet.RobotState(linkv1.RobotState_ROBOT_STATE_MOVING) {
		t.Errorf("got %+v", s)
	}
	want := []fleet.RobotError{{Code: "c", Level: fleet.ErrorLevel(2), Message: "m"}}
	if !slices.Equal(b.last[0].Errors, want) || !slices.Equal(b.last[3].Errors, want) || len(b.last[4].Errors) != 0 {
		t.Errorf("errors hold until another list comes: %v, %v, %v", b.last[0].Errors, b.last[3].Errors, b.last[4].Errors)
	}
}

// One frame costs the same few allocations, however many statuses it has.
func TestStatusesAllocateNothing(t *testing.T) { //nolint:paralleltest // AllocsPerRun counts those of all goroutines
	s := New(Options{})
	x := newStream(s, nil, Identity{})
	hs := make([]uint32, maxStatuses)
	for i := range hs {
		x.robots, hs[i] = append(x.robots, &carried{stream: x, box: sink{}}), uint32(i+1)
	}
	b := batch(hs...).GetStatuses()
	if n := testing.AllocsPerRun(100, func() {
		if err := x.statuses(b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for %d statuses, want none", n, len(hs))
	}
}

func TestAcksReachTheRobot(t *testing.T) {
	t.Parallel()
	_, e, c := start(t, Options{})
	ss, _ := connect(t, c)
	hello(t, ss, "r1")
	recv(t, ss)
	for stage := range linkv1.CommandStage(4) {
		if stage == 0 {
			continue
		}
		if err := ss.Send(commandAck(func(a *linkv1.CommandAck) { a.Stage, a.Reason = stage, "why" })); err != nil {
			t.Fatal(err)
		}
	}
	b := e.box("r1")
	if !until(5*time.Second, func() bool { return b.count() == 3 }) {
		t.Fatal(b.count())
	}
	for i, want := range [...]fleet.Stage{fleet.StageAcknowledged, fleet.StageDone, fleet.StageFailed} {
		if a := b.told[i].(robot.CommandAcknowledged); a.Stage != want || a.Reason != "why" || len(a.ID) != 36 {
			t.Errorf("want stage %v, got %+v", want, a)
		}
	}
}

func TestGoodbyeTakesOneRobotOff(t *testing.T) {
	t.Parallel()
	s, e, c := start(t, Options{})
	ss, _ := connect(t, c)
	hello(t, ss, "r1", "r2")
	recv(t, ss)
	bye := func(handles ...uint32) {
		if err := ss.Send(&linkv1.Uplink{Frame: &linkv1.Uplink_Goodbye{Goodbye: &linkv1.Goodbye{Handles: handles}}}); err != nil {
			t.Fatal(err)
		}
	}
	bye(1, 1)
	if !until(5*time.Second, func() bool { return s.route("r1") == nil }) || s.route("r2") == nil {
		t.Fatal("want r1 gone and r2 there")
	}
	if s.SendOrder(robot.Order{Robot: "r1"}, graph()) || s.SendCommand(robot.Command{Robot: "r1"}) {
		t.Error("there is no way to r1")
	}
	if n := len(e.ended()); n != 1 {
		t.Errorf("r1 was closed %d times", n)
	}
	bye()
	if _, err := ss.Recv(); err != io.EOF { //nolint:errorlint // Recv returns it bare
		t.Errorf("goodbye of all ends the stream well: %v", err)
	}
	if !until(5*time.Second, func() bool { return s.route("r2") == nil }) {
		t.Error("r2 is still carried")
	}
}

// What next takes first, without the writer.
func TestLanes(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	x := newStream(s, nil, Identity{})
	x.known = 3
	for u := range uint32(9) {
		x.putOrder(2, &linkv1.Order{Handle: 2, UpdateId: u + 1})
	}
	x.putOrder(1, &linkv1.Order{Handle: 1})
	x.putHighWater(3, 5)
	x.putHighWater(3, 4)
	x.putHighWater(1, 9)
	x.putCommand(&linkv1.Command{Handle: 1, CommandId: "a"})
	x.putCommand(&linkv1.Command{Handle: 2, CommandId: "b"})
	x.putCommand(&linkv1.Command{Handle: 4, CommandId: "of a robot without a welcome"})
	x.welcomes = append(x.welcomes, &linkv1.Welcome{})

	next := func() *linkv1.Downlink { m, _ := x.next(); return m }
	if next().GetWelcome() == nil {
		t.Error("the welcome is first")
	}
	if c := next().GetCommands().GetCommands(); len(c) != 2 || c[0].CommandId != "a" || c[1].CommandId != "b" {
		t.Errorf("then commands, in their order: %v", c)
	}
	if o := next().GetOrders().GetOrders(); len(o) != 2 || o[0].Handle != 2 || o[0].UpdateId != 9 || o[1].Handle != 1 {
		t.Errorf("then orders, the newest of each robot: %v", o)
	}
	if w := next().GetHighWater(); !slices.Equal(w.GetHandle(), []uint32{1, 3}) || !slices.Equal(w.GetProgressNumber(), []uint64{9, 5}) {
		t.Errorf("then high water, by handle, never falling: %v", w)
	}
	if m := next(); m != nil {
		t.Errorf("then nothing: %v", m)
	}
	for i := range maxCommands {
		if took := x.putCommand(&linkv1.Command{Handle: 1}); took != (i < maxCommands-1) { // one waits for its welcome
			t.Fatalf("command %d taken: %v", i, took)
		}
	}
	x.close(&linkv1.Closing{Reason: "r"})
	if next().GetCommands() == nil {
		t.Error("commands leave before the end")
	}
	if m, last := x.next(); m.GetClosing().GetReason() != "r" || !last {
		t.Errorf("want closing, got %v", m)
	}
}

func TestOrdersAndCommandsOnTheWire(t *testing.T) {
	t.Parallel()
	s, _, c := start(t, Options{})
	ss, _ := connect(t, c)
	hello(t, ss, "r1")
	recv(t, ss)
	g := ringGraph()
	s.SendOrder(robot.Order{
		Robot: "r1", ID: 2, Update: 3, Task: "task", From: 0, Base: []fleet.Vertex{1, 2}, Horizon: []fleet.Vertex{3},
		NotAfter: time.UnixMilli(77), Incarnation: 4, Paused: true, Trace: "00-trace",
	}, g)
	o := recv(t, ss).GetOrders().GetOrders()[0]
	if o.Handle != 1 || o.OrderId != 2 || o.UpdateId != 3 || o.TaskId != "task" || o.NotAfterMs != 77 || o.Incarnation != 4 || !o.Paused || o.MapId != "m" || o.MapVersion != 1 || o.Traceparent != "00-trace" {
		t.Errorf("order %v", o)
	}
	if len(o.Base) != 2 || o.Base[1].Vertex != 2 || o.Base[1].X != 1 || o.Base[1].Y != 1 || o.Base[0].MaxSpeedMps != 30 || len(o.Horizon) != 1 || o.Horizon[0].Vertex != 3 {
		t.Errorf("waypoints %v, %v", o.Base, o.Horizon)
	}
	s.SendCommand(robot.Command{Robot: "r1", ID: "c", Kind: fleet.CommandCharge, Vertex: 3, ExpiresAt: time.UnixMilli(88)})
	if m := recv(t, ss).GetCommands().GetCommands()[0]; m.Handle != 1 || m.CommandId != "c" || m.Kind != linkv1.CommandKind_COMMAND_KIND_CHARGE || m.GetVertex() != 3 || m.ExpiresAtMs != 88 {
		t.Errorf("command %v", m)
	}
	s.SendCommand(robot.Command{Robot: "r1", ID: "d", Kind: fleet.CommandClearErrors, Vertex: fleet.NoVertex})
	if m := recv(t, ss).GetCommands().GetCommands()[0]; m.Vertex != nil || m.Kind != linkv1.CommandKind_COMMAND_KIND_CLEAR_ERRORS {
		t.Errorf("command %v", m)
	}
	s.ProgressDone("r1", 12)
	if w := recv(t, ss).GetHighWater(); !slices.Equal(w.Handle, []uint32{1}) || !slices.Equal(w.ProgressNumber, []uint64{12}) {
		t.Errorf("high water %v", w)
	}
	s.ProgressDone("nobody", 1)
	if s.SendOrder(robot.Order{Robot: "nobody"}, g) || s.SendOrder(robot.Order{Robot: "r1"}, nil) || s.SendCommand(robot.Command{Robot: "nobody"}) {
		t.Error("what cannot be sent was taken")
	}
}

func TestTooManyRobotsOnAStream(t *testing.T) {
	t.Parallel()
	_, _, c := start(t, Options{MaxRobots: 2})
	ss, _ := connect(t, c)
	hello(t, ss, "r1", "r2")
	recv(t, ss)
	hello(t, ss, "r3")
	if _, err := recvWithin(ss, 5*time.Second); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("want RESOURCE_EXHAUSTED, got %v", err)
	}
}

func TestATalkativeStreamIsReadNoFasterThanItsShare(t *testing.T) {
	t.Parallel()
	_, e, c := start(t, Options{MaxStatuses: 100})
	ss, _ := connect(t, c)
	hello(t, ss, "r1")
	recv(t, ss)
	began := time.Now()
	for range 5 { // 250 statuses at 100 a second: the third and the fifth frame wait
		if err := ss.Send(batch(times(50, uint32(1))...)); err != nil {
			t.Fatal(err)
		}
	}
	if !until(10*time.Second, func() bool { return e.box("r1").statuses.Load() == 250 }) {
		t.Fatalf("%d of 250 came: nothing may be lost", e.box("r1").statuses.Load())
	}
	if d := time.Since(began); d < 900*time.Millisecond {
		t.Errorf("250 statuses in %v at 100 a second", d)
	}
}

func TestHangingUpEndsTheRobotsStreamAlone(t *testing.T) {
	t.Parallel()
	s, _, c := start(t, Options{})
	one, _ := connect(t, c)
	hello(t, one, "r1")
	recv(t, one)
	two, _ := connect(t, c)
	hello(t, two, "r2")
	recv(t, two)
	s.HangUp("nobody")
	s.HangUp("r1")
	if m := recv(t, one); m.GetClosing() == nil {
		t.Errorf("%v", m)
	}
	s.SendCommand(robot.Command{Robot: "r2", ID: "c", Vertex: fleet.NoVertex})
	if m := recv(t, two); m.GetCommands() == nil {
		t.Errorf("the other stream: %v", m)
	}
}

func TestStopTellsEveryStreamAndTakesNoNewOne(t *testing.T) {
	t.Parallel()
	s, e, c := start(t, Options{})
	var all []st
	for i := range 3 {
		ss, _ := connect(t, c)
		hello(t, ss, "r"+strconv.Itoa(i))
		recv(t, ss)
		all = append(all, ss)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stopped := make(chan struct{})
	go func() { s.Stop(ctx); close(stopped) }()
	for i, ss := range all {
		m, err := recvWithin(ss, 5*time.Second)
		if err != nil || m.GetClosing().GetRetryAfterMs() == 0 {
			t.Fatalf("%d: want closing with a time to come again, got %v, %v", i, m, err)
		}
		if _, err := recvWithin(ss, 5*time.Second); status.Code(err) != codes.Unavailable {
			t.Errorf("%d: want UNAVAILABLE, got %v", i, err)
		}
	}
	select {
	case <-stopped:
	case <-time.After(5 * time.Second):
		t.Fatal("Stop does not return")
	}
	if n := len(e.ended()); n != 3 {
		t.Errorf("when Stop returns, every robot has been told: %d of 3", n)
	}
}
