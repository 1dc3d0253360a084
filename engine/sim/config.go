// Package sim runs whole warehouses on a virtual clock: the cores of robots, zones, tasks and the dispatcher, a
// network that loses, repeats, delays and reorders their mail, a journal with every way in which a recording can
// end, links that drop, and virtual robots whose true positions it knows. After every simulated step the ten laws
// are checked; one seed is one run.
//
// It is pure like the cores it runs: time is virtual, chance comes from the seed, and nothing leaves but a result.
// It stands in for the shells of package actors as far as recording, stashing and restarting go; these rules must
// stay the same in both.
//
// Size: about 3 microseconds an event; a seed is some 100,000 events.
package sim

import (
	"math/rand/v2"
	"time"

	"starling/engine/congestion"
)

// Config says what to run. Random draws one from a seed.
type Config struct {
	Seed     uint64
	Lockstep bool
	Tenants  int // warehouses side by side, each of a tenant of its own
	Side     int // cells of the square floor's edge
	Split    int // zones along an edge, about
	Blocked  float64
	// DeadEnds allows floors on which a vertex can cut another off: there the laws of safety hold, but priority
	// inheritance promises no end (an idle robot in a dead end that two others want).
	DeadEnds bool
	Robots   int // per tenant
	Window   int // most vertices a robot may lease ahead
	Tasks    int // open at once, per tenant
	// Admission is when zones hold to their congestion windows.
	Admission congestion.Rules
	// Active is how many robots may hold tasks at once; 0 = what the floor takes.
	Active int

	// Chaos is how long things go wrong; then faults end, nothing new is asked for, and Calm is the time in which
	// everything must come to its end.
	Chaos, Calm time.Duration

	Mail    Mail
	Journal Journal
	Faults  Faults
	Battery Battery
	// Strays is how many robots that others control stand about.
	Strays int
	// Lease is how long a renewed lease of the shard lasts; zero = no lease is needed.
	Lease time.Duration
	// Scenario, where set, gives the floor, the robots, the tasks and the faults.
	Scenario *Scenario
}

// Mail says how the network between actors behaves. In calm times nothing is lost or repeated.
type Mail struct {
	Lose, Repeat float64       // share of messages
	Delay        time.Duration // most, uniform: messages overtake each other
	Stray        float64       // share that comes much later
	StrayDelay   time.Duration
}

// Journal says how recordings go.
type Journal struct {
	Commit      time.Duration // most time that a commit takes
	Unavailable float64       // share of commits that are refused
	Unknown     float64       // share of commits whose outcome must be read back
	OutageEvery time.Duration // mean time between outages, zero = none
	Outage      time.Duration // most time an outage lasts
}

// Faults are mean times between faults of each kind in one warehouse; zero = never.
type Faults struct {
	RobotCore, ZoneCore, TaskCore, DispatchCore time.Duration // the actor crashes and is restarted
	Process                                     time.Duration // everything crashes at once
	LinkDrop, Silence, Stop, Reboot             time.Duration // of robots
	Slow                                        float64       // most, as a share of a move's time
	Lane                                        time.Duration // an operator closes or opens a lane
	Command                                     time.Duration // an operator commands a robot
	KeepOut                                     time.Duration // an operator keeps robots out of some vertices
	Take                                        time.Duration // an operator takes a robot off the floor for good
	Cancel                                      time.Duration // a client cancels a task
}

// Random draws the shape of a run from its seed.
func Random(seed uint64) Config {
	r := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	side := 8 + r.IntN(9)
	c := Config{
		Seed: seed, Tenants: 1, Side: side, Split: 2 + r.IntN(max(1, min(3, side/4-1))), Blocked: r.Float64() * 0.15,
		Window: 1 + r.IntN(8), Chaos: seconds(60 + r.IntN(90)), Calm: seconds(420),
	}
	c.DeadEnds = r.IntN(8) == 0
	// So small that zones with few robots are full.
	c.Admission = congestion.Rules{Mode: congestion.Mode(seed % 4), Share: 0.02 + float64(seed/4%8)*0.02}
	c.Robots = 4 + r.IntN(min(17, side*side/8))
	c.Tasks = c.Robots/2 + 1 + r.IntN(c.Robots)
	if seed/32%4 == 0 {
		c.Active = 1 + c.Robots/3
	}
	if r.IntN(8) == 0 {
		c.Tenants, c.Robots, c.Tasks = 2, min(c.Robots, 8), min(c.Tasks, 8)
	}
	c.Journal = Journal{Commit: pick(r, time.Millisecond, 20*time.Millisecond, 200*time.Millisecond)}
	if r.IntN(3) > 0 {
		c.Journal.Unavailable, c.Journal.Unknown = r.Float64()*0.05, r.Float64()*0.05
		c.Journal.OutageEvery, c.Journal.Outage = seconds(30+r.IntN(60)), 5*time.Second
	}
	c.Battery = randomBattery(rand.New(rand.NewPCG(seed, 0xbad)), side, c.Robots)
	if c.Lockstep = r.IntN(5) == 0; c.Lockstep {
		// Robots move together and the moment counts: mail is instant, robots and zones do not fail.
		c.Journal.Commit = 0
		c.Journal.OutageEvery = 0
		c.Window = 1
		c.Faults = Faults{TaskCore: often(r, 20), DispatchCore: often(r, 30), Cancel: often(r, 20)}
		return c
	}
	c.Mail = Mail{Delay: pick(r, 2*time.Millisecond, 20*time.Millisecond, 100*time.Millisecond)}
	if r.IntN(4) > 0 {
		c.Mail.Lose, c.Mail.Repeat = r.Float64()*0.05, r.Float64()*0.05
		c.Mail.Stray, c.Mail.StrayDelay = r.Float64()*0.01, pick(r, time.Second, 5*time.Second)
	}
	c.Faults = Faults{
		RobotCore: often(r, 15), ZoneCore: often(r, 20), TaskCore: often(r, 15), DispatchCore: often(r, 30), Process: often(r, 40),
		LinkDrop: often(r, 8), Silence: often(r, 15), Stop: often(r, 15), Reboot: often(r, 15), Slow: r.Float64() * 2,
		Lane: often(r, 15), Command: often(r, 10), Cancel: often(r, 15),
	}
	c.Faults.KeepOut, c.Faults.Take = often(r, 20), often(r, 40)
	if r.IntN(6) == 0 {
		c.Strays = 1 + r.IntN(2)
	}
	if r.IntN(2) == 0 {
		c.Lease = 1500 * time.Millisecond
	}
	return c
}

// often draws a mean time between faults, or never.
func often(r *rand.Rand, meanSeconds int) time.Duration {
	if r.IntN(3) == 0 {
		return 0
	}
	return seconds(meanSeconds/2 + r.IntN(meanSeconds))
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

func pick(r *rand.Rand, of ...time.Duration) time.Duration { return of[r.IntN(len(of))] }
