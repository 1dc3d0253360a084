package lorr

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"starling/actors"
	"starling/bench/record"
	"starling/bench/validate"
	"starling/engine/fleet"
	"starling/engine/robot"
)

// driver is a robot that takes its time: a second and a little for a move, a second for a quarter turn.
type driver struct {
	*stepBot
	till   time.Time // it moves or turns until then
	to     fleet.Vertex
	depart time.Time
}

// In virtual time, but otherwise as in real life (zones decide ten times a second, nobody moves in step), a crowded floor
// is driven without a conflict, and nobody with a task stands for long.
func TestACrowdedFloorIsDrivenInTime(t *testing.T) {
	t.Parallel()
	const steps, most = 300, 90 * time.Second // once in fifty runs somebody stands for more than a minute
	p, err := Load("../../testdata/lorr/random_100/problem.json")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(4) {
		run := Run{Problem: p, Steps: steps, Seed: seed, Dir: t.TempDir()}
		n, err := run.team()
		if err != nil {
			t.Fatal(err)
		}
		s := newStepper(&run)
		err = s.prepare(t.Context(), n, actors.Options{
			ZoneTick: 100 * time.Millisecond, DispatchInterval: 250 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		s.drive(t, n, rand.New(rand.NewPCG(seed, 1)))
		if err := s.system.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s.ledger.finished < 250 || s.ledger.stuck > most {
			t.Errorf("seed %d: %d tasks finished, somebody stood for %s", seed, s.ledger.finished, s.ledger.stuck)
		}
		if err := s.ledger.write(run.Dir, p.Start[:n], record.Summary{Steps: steps, Robots: n}); err != nil {
			t.Fatal(err)
		}
		r, err := validate.Dir(run.Dir, p.MapPath, validate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range r.Findings {
			t.Errorf("seed %d: %s", seed, f)
		}
		t.Logf("seed %d: %d tasks, longest stand %s", seed, s.ledger.finished, s.ledger.stuck)
	}
}

// drive lets the run pass in slices of 50 ms.
func (s *stepper) drive(t *testing.T, n int, rng *rand.Rand) {
	t.Helper()
	const slice, second = 50 * time.Millisecond, 20
	drivers := make([]*driver, n)
	for i := range drivers {
		drivers[i] = &driver{stepBot: s.bots[i], to: fleet.NoVertex}
	}
	seq := uint64(s.now.Unix()) // statuses have been sent with it
	for k := range s.run.Steps * second {
		if err := s.reveal(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		s.system.Advance(s.now)
		if err := s.system.Quiesce(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.now = s.now.Add(slice)
		seq++
		for i, d := range drivers {
			s.goOn(d, rng)
			if (k+i)%second != 0 {
				continue
			}
			v := &s.graph.Vertices[d.at]
			d.box.Status(&robot.StatusReported{
				BootID: "b", Seq: seq, At: s.now, ReceivedAt: s.now, State: fleet.Moving, Battery: 1, Pose: fleet.Pose{X: v.X, Y: v.Y, Theta: d.heading},
			})
		}
		if err := s.system.Quiesce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.ledger.close(s.now)
}

// goOn ends what the robot was about, reports, and begins the next turn or move.
func (s *stepper) goOn(d *driver, rng *rand.Rand) {
	if s.now.Before(d.till) {
		return
	}
	if d.to != fleet.NoVertex {
		from := d.at
		d.at, d.to = d.to, fleet.NoVertex
		if len(d.order.Base) > 0 && d.order.Base[0] == d.at {
			d.order.Base = d.order.Base[1:]
		}
		s.ledger.moved(d.number, s.cell(from), s.cell(d.at), d.depart, s.now)
		d.seq++
		d.box.Tell(robot.Progressed{BootID: "b", Number: d.seq, Vertex: d.at, Heading: d.heading, At: s.now})
	}
	target, granted := fleet.NoVertex, false
	switch {
	case len(d.order.Base) > 0:
		target, granted = d.order.Base[0], true
	case len(d.order.Horizon) > 0:
		target = d.order.Horizon[0]
	}
	lane, ok := s.graph.Lane(d.at, target)
	if target == fleet.NoVertex || !ok {
		return
	}
	way := s.graph.Lanes[lane].HeadingRad
	switch turn := math.Abs(math.Remainder(way-d.heading, 2*math.Pi)); {
	case turn > 0.1:
		d.heading, d.till = math.Remainder(way, 2*math.Pi), s.now.Add(time.Duration(math.Round(turn/(math.Pi/2)))*time.Second)
	case granted:
		d.to, d.depart, d.till = target, s.now, s.now.Add(time.Second+time.Duration(rng.IntN(3))*50*time.Millisecond)
	}
}
