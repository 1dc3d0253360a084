package robots

import (
	"math"
	"testing"
	"time"

	linkv1 "starling/proto/gen/starling/link/v1"
)

func order(id uint64, update uint32, base ...*linkv1.Waypoint) *linkv1.Order {
	return &linkv1.Order{OrderId: id, UpdateId: update, Base: base}
}

func TestATripTakesAsLongAsItsLimitsSay(t *testing.T) {
	t.Parallel()
	straight := func(limit float32, n int) []*linkv1.Waypoint {
		var all []*linkv1.Waypoint
		for i := range n {
			all = append(all, &linkv1.Waypoint{Vertex: uint32(i + 1), X: float32(i + 1), MaxSpeedMps: limit})
		}
		return all
	}
	for name, x := range map[string]struct {
		motion Motion
		base   []*linkv1.Waypoint
		want   time.Duration
	}{
		"one metre as it comes":                   {Motion{}, straight(0, 1), time.Second},
		"three metres at 1.5 m/s":                 {Motion{SpeedMPS: 1.5}, straight(0, 3), 2 * time.Second},
		"a lane's limit holds":                    {Motion{SpeedMPS: 1.5}, straight(.5, 3), 6 * time.Second},
		"a lane's limit does not spur":            {Motion{SpeedMPS: 1}, straight(9, 3), 3 * time.Second},
		"a quarter turn first":                    {Motion{}, []*linkv1.Waypoint{w(1, 0, 1)}, 2 * time.Second},
		"a half turn first":                       {Motion{}, []*linkv1.Waypoint{w(1, -1, 0)}, 3 * time.Second},
		"turning may cost nothing":                {Motion{QuarterTurn: -1}, []*linkv1.Waypoint{w(1, -1, 0)}, time.Second},
		"up and down again, top speed unreached":  {Motion{SpeedMPS: 10, AccelMPS2: 1}, []*linkv1.Waypoint{w(1, 1, 0)}, 2 * time.Second},
		"up, on and down again":                   {Motion{SpeedMPS: 1, AccelMPS2: 1}, []*linkv1.Waypoint{w(1, 10, 0)}, 11 * time.Second},
		"through vertices without a stop":         {Motion{SpeedMPS: 1, AccelMPS2: 1}, straight(0, 10), 11 * time.Second},
		"a corner is a stop":                      {Motion{SpeedMPS: 1, AccelMPS2: 1, QuarterTurn: -1}, []*linkv1.Waypoint{w(1, 1, 0), w(2, 1, 1)}, 4 * time.Second},
		"a lane's limit holds with a ramp before": {Motion{SpeedMPS: 2, AccelMPS2: .5}, []*linkv1.Waypoint{{Vertex: 1, X: 3, MaxSpeedMps: 1}}, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var last Move
			c, b := one(t, Options{Motion: x.motion, OnMove: func(m Move) { last = m }})
			now := time.Now()
			c.take(now, b, order(1, 1, x.base...))
			c.due(now.Add(time.Minute))
			if b.at != x.base[len(x.base)-1].Vertex {
				t.Fatalf("it stands on %d", b.at)
			}
			if d := last.Arrive.Sub(now); (d - x.want).Abs() > time.Millisecond {
				t.Errorf("want %v, took %v", x.want, d)
			}
			if b.speed != 0 {
				t.Errorf("it stands at %v m/s", b.speed)
			}
		})
	}
}

func TestItDrivesTheBaseAloneAndFacesTheHorizon(t *testing.T) {
	t.Parallel()
	c, b := one(t, Options{})
	now := time.Now()
	o := order(1, 1, w(1, 1, 0))
	o.Horizon = []*linkv1.Waypoint{w(2, 1, 1)}
	c.take(now, b, o)
	c.due(now.Add(time.Hour))
	if b.at != 1 || math.Abs(b.theta-math.Pi/2) > 1e-9 || b.state() != linkv1.RobotState_ROBOT_STATE_WAITING {
		t.Fatalf("on %d facing %v, %v", b.at, b.theta, b.state())
	}
	if n := len(b.pending); n != 2 || b.pending[0].Kind != linkv1.ProgressKind_PROGRESS_KIND_ARRIVED || b.pending[1].Kind != linkv1.ProgressKind_PROGRESS_KIND_TURNED {
		t.Fatalf("progress %v", b.pending)
	}
	for i, p := range b.pending {
		if p.Number != uint64(i+1) || p.Vertex != 1 || p.OrderId != 1 {
			t.Errorf("progress %d: %v", i, p)
		}
	}
}

func TestOldOrdersAreIgnored(t *testing.T) {
	t.Parallel()
	base := order(2, 5, w(1, 1, 0))
	base.Incarnation = 3
	for name, x := range map[string]struct {
		id     uint64
		update uint32
		inc    int64
		taken  bool
	}{
		"the next update":          {2, 6, 3, true},
		"the next order":           {3, 1, 3, true},
		"a later incarnation":      {2, 6, 4, true},
		"the same again":           {2, 5, 3, false},
		"an earlier update":        {2, 4, 3, false},
		"an earlier order":         {1, 9, 3, false},
		"an earlier incarnation":   {2, 6, 2, false},
		"a new order of an old in": {9, 1, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, b := one(t, Options{})
			now := time.Now()
			c.take(now, b, base)
			o := order(x.id, x.update, w(1, 1, 0), w(2, 2, 0))
			o.Incarnation = x.inc
			c.take(now, b, o)
			if taken := len(b.base) == 2; taken != x.taken {
				t.Errorf("taken: %v", taken)
			}
		})
	}
}

func TestAnOrderTakesBackWhatIsNotEntered(t *testing.T) {
	t.Parallel()
	c, b := one(t, Options{})
	now := time.Now()
	c.take(now, b, order(1, 1, w(1, 1, 0), w(2, 2, 0)))
	c.due(now.Add(500 * time.Millisecond)) // on its way to 1
	c.take(now.Add(500*time.Millisecond), b, order(2, 1))
	c.due(now.Add(time.Hour))
	if b.at != 1 {
		t.Fatalf("it stands on %d, what it had entered was 1", b.at)
	}
}

func TestTheLeaseOfAnOrderEndsBetweenVertices(t *testing.T) {
	t.Parallel()
	c, b := one(t, Options{})
	now := time.Now()
	o := order(1, 1, w(1, 1, 0), w(2, 2, 0), w(3, 3, 0))
	o.NotAfterMs = now.Add(1500 * time.Millisecond).UnixMilli()
	c.take(now, b, o)
	c.due(now.Add(time.Hour))
	if b.at != 2 { // entered at 1 s, before the end
		t.Fatalf("it stands on %d", b.at)
	}
	o = order(1, 2, w(3, 3, 0))
	o.NotAfterMs = now.Add(2 * time.Hour).UnixMilli()
	c.take(now.Add(time.Hour), b, o)
	c.due(now.Add(2 * time.Hour))
	if b.at != 3 {
		t.Fatalf("with a new lease it goes on; it stands on %d", b.at)
	}
}

func TestAPausedOrderHoldsUntilOneThatIsNot(t *testing.T) {
	t.Parallel()
	c, b := one(t, Options{})
	now := time.Now()
	o := order(1, 1, w(1, 1, 0))
	o.Paused = true
	c.take(now, b, o)
	c.due(now.Add(time.Hour))
	if b.at != 0 {
		t.Fatal("it drove")
	}
	c.take(now.Add(time.Hour), b, order(1, 2, w(1, 1, 0)))
	c.due(now.Add(2 * time.Hour))
	if b.at != 1 {
		t.Fatal("it does not go on")
	}
}

func TestCommandsAreObeyedAndAnswered(t *testing.T) {
	t.Parallel()
	c, b := one(t, Options{})
	now := time.Now()
	c.command(now, b, &linkv1.Command{CommandId: "p", Kind: linkv1.CommandKind_COMMAND_KIND_PAUSE})
	c.take(now, b, order(1, 1, w(1, 1, 0)))
	c.due(now.Add(time.Hour))
	if b.at != 0 || b.state() != linkv1.RobotState_ROBOT_STATE_PAUSED {
		t.Fatalf("paused, on %d, %v", b.at, b.state())
	}
	c.command(now.Add(time.Hour), b, &linkv1.Command{CommandId: "r", Kind: linkv1.CommandKind_COMMAND_KIND_RESUME})
	c.command(now.Add(time.Hour), b, &linkv1.Command{CommandId: "g", Kind: linkv1.CommandKind_COMMAND_KIND_GO_TO})
	c.due(now.Add(2 * time.Hour))
	if b.at != 1 {
		t.Fatal("it does not go on")
	}
	b.handle = 7 // another stream
	c.flush()
	var got []string
	for _, a := range (<-c.out).GetAcks().GetCommands() {
		if a.Handle != 7 {
			t.Errorf("handle %d, the stream gave 7", a.Handle)
		}
		got = append(got, a.CommandId+a.Stage.String()[len("COMMAND_STAGE_"):])
	}
	want := []string{"pACKNOWLEDGED", "pDONE", "rACKNOWLEDGED", "rDONE", "gACKNOWLEDGED"}
	if len(got) != len(want) {
		t.Fatalf("want %v, got %v", want, got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("want %v, got %v", want, got)
		}
	}
	if c.flush(); len(c.acks) > 0 {
		t.Error("answers are kept after they were sent")
	}
}

func TestAcksWaitForTheWelcome(t *testing.T) {
	t.Parallel()
	c, b := one(t, Options{})
	c.command(time.Now(), b, &linkv1.Command{CommandId: "p", Kind: linkv1.CommandKind_COMMAND_KIND_PAUSE})
	c.helloOf(c.bots) // a new stream begins
	c.handle = map[uint32]*bot{}
	if c.flush(); len(c.out) > 0 {
		t.Fatal("sent with a handle that the stream has not given")
	}
	c.welcome(time.Now(), &linkv1.Welcome{Robots: []*linkv1.RobotWelcome{{RobotId: "r", Handle: 3}}})
	c.flush()
	if a := (<-c.out).GetAcks().GetCommands(); len(a) != 2 || a[0].Handle != 3 {
		t.Fatalf("got %v", a)
	}
}

// A way may lead back: A, B, A is no order that was overtaken by the robot.
func TestAWayBackIsDriven(t *testing.T) {
	t.Parallel()
	c, b := one(t, Options{Motion: Motion{QuarterTurn: -1}})
	now := time.Now()
	c.take(now, b, order(1, 1, w(1, 1, 0), w(0, 0, 0)))
	c.due(now.Add(time.Hour))
	if b.at != 0 || b.progress != 2 {
		t.Fatalf("on %d after %d moves", b.at, b.progress)
	}
}

func TestAnOvertakenOrderIsNotDrivenBackwards(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		known uint64 // the engine's high water when the order comes
		base  []*linkv1.Waypoint
		moves uint64
	}{
		"made before both arrivals":     {0, []*linkv1.Waypoint{w(1, 1, 0), w(2, 2, 0), w(3, 3, 0)}, 3},
		"made after the first":          {0, []*linkv1.Waypoint{w(2, 2, 0), w(3, 3, 0)}, 3},
		"made after both":               {0, []*linkv1.Waypoint{w(3, 3, 0)}, 3},
		"with nothing more":             {0, []*linkv1.Waypoint{w(1, 1, 0), w(2, 2, 0)}, 2},
		"the engine knows, and goes on": {2, []*linkv1.Waypoint{w(3, 3, 0)}, 3},
		"where it stands comes again":   {2, []*linkv1.Waypoint{w(2, 2, 0), w(3, 3, 0)}, 3},
		"back, when the engine knows":   {2, []*linkv1.Waypoint{w(1, 1, 0), w(2, 2, 0)}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, b := one(t, Options{Motion: Motion{QuarterTurn: -1}})
			now := time.Now()
			c.take(now, b, order(1, 1, w(1, 1, 0), w(2, 2, 0)))
			c.due(now.Add(time.Hour))
			b.forget(x.known)
			c.take(now.Add(time.Hour), b, order(1, 2, x.base...))
			c.due(now.Add(2 * time.Hour))
			if b.progress != x.moves || b.at != x.base[len(x.base)-1].Vertex {
				t.Errorf("on %d after %d moves", b.at, b.progress)
			}
		})
	}
}

func TestErrorsAreToldOnceAndAgainOnANewStream(t *testing.T) {
	t.Parallel()
	c, b := one(t, Options{})
	now := time.Now()
	says := func() int {
		c.pace.last += beats
		c.statuses(now, c.pace.last)
		e := (<-c.out).GetStatuses().GetErrors()
		if len(e) == 0 {
			return -1
		}
		return len(e[0].Errors)
	}
	if n := says(); n != -1 {
		t.Fatalf("a well robot says %d", n)
	}
	c.fault(now, b, Fault{Kind: FaultStop, For: time.Hour})
	full := c.out
	c.out = make(chan *linkv1.Uplink) // a full queue loses the status, and not the error
	c.pace.last += beats
	c.statuses(now, c.pace.last)
	c.out = full
	if n := says(); n != 1 {
		t.Fatalf("a stopped robot says %d", n)
	}
	if n := says(); n != -1 {
		t.Fatalf("nothing new, says %d", n)
	}
	c.helloOf(c.bots)
	c.handle = map[uint32]*bot{}
	c.welcome(now, &linkv1.Welcome{Robots: []*linkv1.RobotWelcome{{RobotId: "r", Handle: 3}}})
	if n := says(); n != 1 {
		t.Fatalf("on a new stream, says %d", n)
	}
	c.command(now, b, &linkv1.Command{Kind: linkv1.CommandKind_COMMAND_KIND_CLEAR_ERRORS})
	if n := says(); n != 0 {
		t.Fatalf("cleared, says %d", n)
	}
}

func TestProgressIsRepeatedUntilTheEngineHasIt(t *testing.T) {
	t.Parallel()
	c, b := one(t, Options{})
	now := time.Now()
	c.take(now, b, order(1, 1, w(1, 1, 0), w(2, 2, 0), w(3, 3, 0)))
	c.due(now.Add(time.Hour))
	numbers := func() (all []uint64) {
		c.flush()
		for len(c.out) > 0 {
			for _, p := range (<-c.out).GetProgress().GetEntries() {
				if p.Handle != b.handle {
					t.Errorf("handle %d, want %d", p.Handle, b.handle)
				}
				all = append(all, p.Number)
			}
		}
		return all
	}
	again := func(handle uint32, known uint64) {
		r := c.helloOf(c.bots).Robots[0].Resume
		if r.ProgressNumber != 3 || r.GetAtVertex() != 3 || r.OrderId != 1 || r.UpdateId != 1 {
			t.Errorf("resumes with %v", r)
		}
		c.handle = map[uint32]*bot{}
		c.welcome(now, &linkv1.Welcome{Robots: []*linkv1.RobotWelcome{{RobotId: "r", Handle: handle, ProgressNumber: known}}})
	}
	for step, x := range []struct {
		do   func()
		want int
	}{
		{func() {}, 3},              // all
		{func() {}, 0},              // on one stream each is sent once
		{func() { again(5, 0) }, 3}, // the link was lost, and the engine knows of none
		{func() {
			c.receive(now, &linkv1.Downlink{Frame: &linkv1.Downlink_HighWater{HighWater: &linkv1.HighWater{Handle: []uint32{5}, ProgressNumber: []uint64{1}}}})
		}, 0},
		{func() { again(6, 0) }, 2}, // lost again: what high water covered is forgotten
		{func() { again(7, 2) }, 1}, // the welcome says how far the engine is
		{func() { again(8, 3) }, 0},
	} {
		x.do()
		if n := numbers(); len(n) != x.want || len(n) > 0 && n[len(n)-1] != 3 {
			t.Errorf("step %d: want the last %d of 3, got %v", step, x.want, n)
		}
	}
}

func TestARebootedRobotCountsAnew(t *testing.T) {
	t.Parallel()
	c, b := one(t, Options{})
	now := time.Now()
	c.take(now, b, order(4, 1, w(1, 1, 0)))
	c.due(now.Add(time.Hour))
	boot := b.boot
	c.fault(now, b, Fault{Kind: FaultReboot})
	if b.boot == boot || b.progress != 0 || len(b.pending) != 0 || b.orderID != 0 || !c.hangUp || b.at != 1 {
		t.Fatalf("%+v", b)
	}
}

func TestAStatusSaysWhereItIsBetweenVertices(t *testing.T) {
	t.Parallel()
	c, b := one(t, Options{Motion: Motion{SpeedMPS: 2}})
	now := time.Now()
	c.take(now, b, order(1, 1, w(1, 4, 0)))
	c.pace.last += beats
	c.statuses(now.Add(500*time.Millisecond), c.pace.last)
	s := (<-c.out).GetStatuses()
	if math.Abs(float64(s.X[0])-1) > 1e-3 || s.Y[0] != 0 || math.Abs(float64(s.VelocityMps[0])-2) > 1e-3 || s.State[0] != linkv1.RobotState_ROBOT_STATE_MOVING || s.Seq[0] != 1 {
		t.Errorf("got %v", s)
	}
	c.due(now.Add(time.Hour))
	c.pace.last += beats
	c.statuses(now.Add(time.Hour), c.pace.last)
	if s = (<-c.out).GetStatuses(); s.X[0] != 4 || s.VelocityMps[0] != 0 || s.State[0] != linkv1.RobotState_ROBOT_STATE_IDLE || s.Seq[0] != 2 {
		t.Errorf("got %v", s)
	}
}
