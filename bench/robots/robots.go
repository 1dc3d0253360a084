// Package robots is a fleet of virtual robots that connects to a running engine over the link as real ones do: it
// shares nothing with the engine but the wire. It drives only what it is granted, with acceleration, turning time,
// random delays, battery and faults on request. Serves `starling sim`, the demo, the benches and the tests.
//
// Size: one goroutine and one event heap a stream (500 robots by default), about 1 kB a robot; 10,000 robots at 1 Hz
// take some 5 % of a core.
package robots

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Options say what fleet to run. Zero values of settings are their stated defaults.
type Options struct {
	LinkAddr    string
	Token       string      // "" = the certificate of TLS says who they are
	TLS         *tls.Config // nil = plain
	TenantID    string      // optional: for tokens of several tenants
	WarehouseID string
	Robots      []Robot
	Seed        uint64
	PerStream   int // robots of one stream; 0 = 500
	Motion      Motion
	Delays      Delays
	Battery     Battery
	Faults      []Fault
	StatusEvery time.Duration // 0 = 1 s
	Deaf        bool          // does not obey when it is asked for another rate of statuses
	Log         *slog.Logger  // nil = none
	// OnMove is told of every move when it ends, from the stream's goroutine; nil = nobody.
	OnMove func(Move)
}

// Robot is one of them, and where it stands at first.
type Robot struct {
	ID, Code      string
	Vertex        uint32
	X, Y, Heading float64
}

// Motion is how they move. The zero value moves one metre a second at once, and turns a quarter in a second.
type Motion struct {
	SpeedMPS    float64       // 0 = 1
	AccelMPS2   float64       // 0 = without bound
	QuarterTurn time.Duration // 0 = 1 s; negative = none
}

// Delays make robots late: before a move, with probability P, it waits for a normally distributed time.
type Delays struct {
	P        float64
	Min, Max time.Duration
	Mean     float64 // share of the way from Min to Max
	Std      float64
}

// Battery makes robots use it up, and fill it where they stand at a charger. The zero value keeps it as it is.
type Battery struct {
	PerM, PerS float64 // share of a full one, per metre and per second
	PerCharge  float64 // per second at a charger
	Chargers   []Point
}

// Point is a place on the floor, in metres.
type Point struct{ X, Y float64 }

// Fault is something that happens to a robot once.
type Fault struct {
	Robot int // index
	After time.Duration
	For   time.Duration
	Kind  FaultKind
}

// FaultKind names a fault.
type FaultKind uint8

// What can happen to a robot: it stops with a fatal error; it says nothing; it forgets all and starts anew.
const (
	FaultStop FaultKind = iota
	FaultSilent
	FaultReboot
)

// Move is one move from vertex to vertex, by the robot's own clock.
type Move struct {
	Robot          int
	From, To       uint32
	Depart, Arrive time.Time
}

// Stats are counters of a running fleet.
type Stats struct {
	Statuses, Moves, Orders, Commands, Reconnects atomic.Int64
	Connected                                     atomic.Int64
}

// Fleet runs virtual robots.
type Fleet struct {
	o     Options
	Stats Stats
}

// New checks the options.
func New(o Options) (*Fleet, error) {
	if o.LinkAddr == "" || o.Token == "" && o.TLS == nil || len(o.Robots) == 0 {
		return nil, fmt.Errorf("virtual robots want a link address, a token or TLS, and at least one robot")
	}
	if o.PerStream <= 0 {
		o.PerStream = 500
	}
	if o.StatusEvery <= 0 {
		o.StatusEvery = time.Second
	}
	if o.Motion.SpeedMPS <= 0 {
		o.Motion.SpeedMPS = 1
	}
	if o.Motion.QuarterTurn == 0 {
		o.Motion.QuarterTurn = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Fleet{o: o}, nil
}

// Run drives the fleet until ctx is done. Streams that end are opened again, with growing pauses.
func (f *Fleet) Run(ctx context.Context) {
	var all sync.WaitGroup
	for first := 0; first < len(f.o.Robots); first += f.o.PerStream {
		c := f.newCarrier(first, min(first+f.o.PerStream, len(f.o.Robots)))
		all.Go(func() { c.run(ctx) })
	}
	all.Wait()
}

func (f *Fleet) newCarrier(first, last int) *carrier {
	c := &carrier{fleet: f, first: first, rng: rand.New(rand.NewPCG(f.o.Seed, uint64(first)))}
	now := time.Now()
	for i := first; i < last; i++ {
		r := f.o.Robots[i]
		b := &bot{
			Robot: r, index: i, boot: fmt.Sprintf("boot-%x-%d", f.o.Seed, now.UnixMilli()), at: r.Vertex, x: r.X, y: r.Y, theta: r.Heading,
			rng: rand.New(rand.NewPCG(f.o.Seed, uint64(i)+1<<32)),
		}
		b.battery, b.settled = 0.5+0.5*b.rng.Float64(), now
		c.bots = append(c.bots, b)
	}
	for _, x := range f.o.Faults {
		if x.Robot >= first && x.Robot < last {
			b := c.bots[x.Robot-first]
			c.push(now.Add(x.After), func(at time.Time) { c.fault(at, b, x) })
		}
	}
	return c
}
