package robots

import (
	"math/rand/v2"
	"testing"
	"time"

	linkv1 "starling/proto/gen/starling/link/v1"
)

func one(t *testing.T, o Options) (*carrier, *bot) {
	t.Helper()
	o.LinkAddr, o.Token = "x", "x"
	if o.Robots == nil {
		o.Robots = []Robot{{ID: "r"}}
	}
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	c := f.newCarrier(0, len(o.Robots))
	c.out = make(chan *linkv1.Uplink, 100)
	for i, b := range c.bots {
		b.handle = uint32(i + 1)
	}
	return c, c.bots[0]
}

func w(v uint32, x, y float32) *linkv1.Waypoint { return &linkv1.Waypoint{Vertex: v, X: x, Y: y} }

func TestProgressOfASilentRobotIsSentAfterwards(t *testing.T) {
	t.Parallel()
	c, b := one(t, Options{})
	now := time.Now()
	c.fault(now, b, Fault{Kind: FaultSilent, For: 2 * time.Second})
	b.base = []*linkv1.Waypoint{w(1, 1, 0)}
	c.step(now, b)
	c.due(now.Add(1500 * time.Millisecond)) // it arrives, silently
	c.flush()
	if len(c.out) != 0 {
		t.Fatal("a silent robot spoke")
	}
	c.due(now.Add(2 * time.Second))
	c.flush()
	if len(c.out) == 0 {
		t.Fatal("its arrival is never sent")
	}
}

func TestNoVertexIsEnteredAfterTheLease(t *testing.T) {
	t.Parallel()
	c, b := one(t, Options{Delays: Delays{P: 1, Min: 5 * time.Second, Max: 5 * time.Second}})
	now := time.Now()
	c.take(now, b, &linkv1.Order{OrderId: 1, UpdateId: 1, Base: []*linkv1.Waypoint{w(1, 1, 0)}, NotAfterMs: now.Add(time.Second).UnixMilli()})
	c.due(now.Add(10 * time.Second))
	if b.at == 1 {
		t.Fatalf("it departed %v after the order, the lease ended after 1s", b.depart.Sub(now))
	}
}

func TestPauseHoldsARobotThatHasNotDeparted(t *testing.T) {
	t.Parallel()
	c, b := one(t, Options{Delays: Delays{P: 1, Min: 5 * time.Second, Max: 5 * time.Second}})
	now := time.Now()
	c.take(now, b, &linkv1.Order{OrderId: 1, UpdateId: 1, Base: []*linkv1.Waypoint{w(1, 1, 0)}})
	c.command(now, b, &linkv1.Command{Kind: linkv1.CommandKind_COMMAND_KIND_PAUSE})
	c.due(now.Add(10 * time.Second))
	if b.at == 1 {
		t.Fatal("pause was answered DONE, then it departed 5 s later")
	}
}

func TestRefusedRobotSaysHelloAgain(t *testing.T) {
	t.Parallel()
	c, b := one(t, Options{})
	b.handle = 0
	c.handle = map[uint32]*bot{}
	now := time.Now()
	c.welcome(now, &linkv1.Welcome{Robots: []*linkv1.RobotWelcome{{RobotId: "r", Refused: "UNAVAILABLE"}}})
	c.due(now.Add(time.Hour))
	if len(c.out) == 0 && !c.hangUp {
		t.Fatal("refused UNAVAILABLE once: no hello ever again on this stream")
	}
}

func TestDelaysOfARobotDependOnItsSeedAlone(t *testing.T) {
	t.Parallel()
	run := func(jitter bool) time.Duration {
		c, b := one(t, Options{Seed: 7, Delays: Delays{P: 1, Min: time.Second, Max: 9 * time.Second, Mean: .5, Std: .3}})
		if jitter {
			_ = c.rng.Int64N(1000) // a reconnect drew its pause
		}
		now := time.Now()
		c.take(now, b, &linkv1.Order{OrderId: 1, UpdateId: 1, Base: []*linkv1.Waypoint{w(1, 1, 0)}})
		return b.depart.Sub(now)
	}
	if a, b := run(false), run(true); a != b {
		t.Fatalf("%v against %v", a, b)
	}
}

func TestTravelTimes(t *testing.T) {
	t.Parallel()
	// Against a dumb integration of the trapezoid: never faster than the limits allow.
	rng := rand.New(rand.NewPCG(1, 2))
	bad := 0
	for range 2000 {
		a, top := .2+rng.Float64()*2, .5+rng.Float64()*2
		c, b := one(t, Options{Motion: Motion{SpeedMPS: top, AccelMPS2: a, QuarterTurn: -1}})
		n := 1 + rng.IntN(4)
		for i := range n {
			b.base = append(b.base, w(uint32(i+1), float32(i+1), 0))
		}
		for len(b.base) > 0 {
			v0 := b.speed
			b.to = b.base[0]
			d := c.travel(b).Seconds()
			// distance 1 m in d: mean speed must not exceed top, and speed change must not exceed a*d
			if 1/d > top+1e-6 || (b.speed-v0)/d > a+1e-6 || (v0-b.speed)/d > a+1e-6 {
				bad++
			}
			b.x, b.at, b.base = float64(b.to.X), b.to.Vertex, b.base[1:]
		}
		if b.speed != 0 {
			t.Fatalf("ends with %v m/s", b.speed)
		}
	}
	if bad > 0 {
		t.Fatalf("%d of the moves break a limit", bad)
	}
}
