package congestion_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"starling/engine/congestion"
	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// stand is a robot that says the same every second.
type stand struct {
	vertex  fleet.Vertex
	goal    fleet.ZoneID
	waits   fleet.Cause
	state   fleet.RobotState
	drives  float64 // m/s, to and fro
	lane    fleet.LaneID
	silence int // it says nothing from that second on; 0 = never
}

// play lets robots say what they say for so many seconds and returns the scores of each bin.
func play(s *congestion.Site, g *roadmap.Graph, from time.Time, seconds int, robots []stand) (out [][]congestion.Score) {
	for i := range seconds {
		now := from.Add(time.Duration(i) * time.Second)
		for s.Due(now) {
			out = append(out, slices.Clone(s.Close(now)))
		}
		for n, r := range robots {
			if r.silence > 0 && i >= r.silence {
				continue
			}
			v := &g.Vertices[r.vertex]
			m := congestion.Sample{
				Robot: fleet.RobotID(fmt.Sprint("r", n)), Boot: "b", Seq: uint64(now.Unix()), At: now, ReceivedAt: now, Vertex: r.vertex, Zone: g.Zones[g.ZoneOf[r.vertex]].ID, Lane: r.lane,
				GoalZone: r.goal, WaitingFor: r.waits, State: r.state, X: v.X + r.drives*float64(i%2), Y: v.Y, Located: true, VelocityMPS: r.drives, SamplingHz: 1,
			}
			s.Add(&m)
		}
	}
	return out
}

func of(scores []congestion.Score, kind congestion.Of, id string) (sc congestion.Score) {
	for _, sc := range scores {
		if sc.Of == kind && (sc.ID == id || kind == congestion.OfWarehouse) {
			return sc
		}
	}
	return sc
}

func site(g *roadmap.Graph) *congestion.Site {
	return congestion.NewSite(congestion.SiteSpec{Graph: g, Settings: congestion.Usual()})
}

// learnFree lets robots drive at a metre a second until the site knows that.
func learnFree(s *congestion.Site, g *roadmap.Graph) time.Time {
	const seconds = 600
	play(s, g, t0, seconds, []stand{{vertex: 0, goal: "away", state: fleet.Moving, drives: 1}, {vertex: 60, goal: "away", state: fleet.Moving, drives: 1}})
	return t0.Add(seconds * time.Second)
}

func TestTheIndexIsTheShareOfRobotTimeLost(t *testing.T) {
	t.Parallel()
	g := open(t, 20, 20, 400)
	goal := g.Zones[0].ID
	many := func(n int, r stand) (out []stand) {
		for i := range n {
			r.vertex = g.Zones[0].Vertices[i]
			out = append(out, r)
		}
		return out
	}
	waits := stand{goal: goal, state: fleet.Waiting, waits: fleet.CauseOccupied}
	drives := stand{goal: goal, state: fleet.Moving, drives: 1}
	for name, c := range map[string]struct {
		robots     []stand
		index      float64
		queue, all int
	}{
		"all drive freely":          {many(10, drives), 0, 0, 10},
		"half of twenty wait":       {append(many(10, drives), many(10, waits)...), 10 / 21.5, 10, 20},
		"all twenty wait":           {many(20, waits), 20 / 21.5, 20, 20},
		"one waits: that is no jam": {many(1, waits), 1 / 2.5, 1, 1},
		"ten drive at half speed":   {many(10, stand{goal: goal, state: fleet.Moving, drives: 0.5}), 5 / 11.5, 0, 10},
		"parked robots":             {many(30, stand{state: fleet.Idle}), 0, 0, 30},
		"halted by themselves":      {many(5, stand{goal: goal, state: fleet.Waiting, waits: fleet.CauseHalted}), 0, 0, 5},
		"without a battery":         {many(5, stand{goal: goal, state: fleet.Idle, waits: fleet.CauseBattery}), 0, 0, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := site(g)
			from := learnFree(s, g).Add(2 * time.Minute)
			bins := play(s, g, from, 300, c.robots)
			sc := of(bins[len(bins)-1], congestion.OfZone, string(goal))
			if math.Abs(sc.Index-c.index) > 0.03 || sc.Queue != c.queue || sc.Occupancy != c.all || sc.Capacity != 100 {
				t.Errorf("index %.3f of %.3f, queue %d of %d, occupancy %d of %d", sc.Index, c.index, sc.Queue, c.queue, sc.Occupancy, c.all)
			}
			if math.Abs(sc.Density-float64(c.all)/100) > 1e-9 || math.Abs(sc.FreeMPS-1) > 0.05 {
				t.Errorf("density %v, free speed %v", sc.Density, sc.FreeMPS)
			}
			if w := of(bins[len(bins)-1], congestion.OfWarehouse, ""); w.Occupancy != c.all || w.Queue != c.queue {
				t.Errorf("the warehouse has %d robots, %d wait", w.Occupancy, w.Queue)
			}
		})
	}
}

// A jam raises the levels one after the other, and clears.
func TestAJamRaisesTheZoneAndItsLane(t *testing.T) {
	t.Parallel()
	g := open(t, 20, 20, 400)
	s := site(g)
	now := learnFree(s, g)
	z := string(g.Zones[0].ID)
	var jam []stand
	for i := range g.Zones[0].Vertices[:30] {
		v := g.Zones[0].Vertices[i]
		jam = append(jam, stand{vertex: v, lane: g.Lanes[g.Out[v][0]].ID, goal: g.Zones[0].ID, state: fleet.Waiting, waits: fleet.CauseOccupied})
	}
	bins := play(s, g, now, 300, jam)
	seen := map[int]bool{}
	for _, b := range bins {
		seen[of(b, congestion.OfZone, z).Level] = true
	}
	last := bins[len(bins)-1]
	if sc := of(last, congestion.OfZone, z); !seen[1] || !seen[2] || sc.Level != 3 || sc.Risk < 0.9 || sc.Confidence < 0.5 {
		t.Errorf("levels %v, at the end %+v", seen, sc)
	}
	lane := of(last, congestion.OfLane, string(jam[0].lane))
	if lane.Index < 0.5 || lane.Queue != 1 || lane.Level == 0 {
		t.Errorf("its lane is %+v", lane)
	}
	raised := congestion.Raised(last, func(string) string { return z }, 10)
	if len(raised) == 0 || slices.ContainsFunc(raised, func(sc congestion.Score) bool { return sc.Of == congestion.OfLane && sc.Level <= 3 }) {
		t.Errorf("raised %+v", raised)
	}
	hot := congestion.Hotspots(last, 0, 3)
	if len(hot) != 3 || hot[0].ID != z || hot[0].Source != congestion.SourceObserved {
		t.Errorf("hotspots %+v", hot)
	}
	if soon := congestion.Hotspots(last, time.Minute, 3); soon[0].Source != congestion.SourcePersistence || soon[0].Index != soon[0].Forecast || soon[0].Confidence >= hot[0].Confidence {
		t.Errorf("in a minute %+v", soon[0])
	}
	bins = play(s, g, now.Add(305*time.Second), 600, []stand{{vertex: 5, goal: g.Zones[0].ID, state: fleet.Moving, drives: 1}})
	if sc := of(bins[len(bins)-1], congestion.OfZone, z); sc.Level != 0 || sc.Index > 0.1 {
		t.Errorf("ten minutes after the jam it is %+v", sc)
	}
	if sc := of(bins[len(bins)-1], congestion.OfLane, string(jam[0].lane)); sc.ID != "" {
		t.Errorf("its lane is told still: %+v", sc)
	}
	off := congestion.Usual()
	off.Off = true
	s.Set(off)
	bins = play(s, g, now.Add(1000*time.Second), 300, jam)
	if sc := of(bins[len(bins)-1], congestion.OfZone, z); sc.Level != 0 || sc.Index < 0.8 {
		t.Errorf("switched off it is %+v", sc)
	}
}

// Who falls silent is thought to be where it was for a while, then missing; that is less sure.
func TestConfidenceFallsWithSilence(t *testing.T) {
	t.Parallel()
	g := open(t, 20, 20, 400)
	s := site(g)
	var robots []stand
	for i := range 10 {
		robots = append(robots, stand{vertex: g.Zones[0].Vertices[i], goal: g.Zones[0].ID, state: fleet.Moving, drives: 1})
		if i%2 == 0 {
			robots[i].silence = 60
		}
	}
	bins := play(s, g, t0, 300, robots)
	at := func(second int) congestion.Score {
		return of(bins[second/10], congestion.OfZone, string(g.Zones[0].ID))
	}
	if a, b := at(40), at(100); a.Occupancy != 10 || b.Occupancy != 5 || b.Confidence > 0.6*a.Confidence {
		t.Errorf("%d robots known with %.2f, then %d with %.2f", a.Occupancy, a.Confidence, b.Occupancy, b.Confidence)
	}
	if c := at(200); c.Occupancy != 5 || c.Confidence < 0.9*at(40).Confidence*0.5 || s.Counts().Robots != 5 {
		t.Errorf("when they are forgotten: %+v, %+v", c, s.Counts())
	}
}

// Whatever robots say, every figure is a number within its range, and JSON can carry it.
func TestScoresStayInTheirRanges(t *testing.T) {
	t.Parallel()
	g := open(t, 12, 9, 40)
	rapid.Check(t, func(t *rapid.T) {
		s := site(g)
		now := t0
		for range rapid.IntRange(1, 400).Draw(t, "statuses") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			m := congestion.Sample{
				Robot: fleet.RobotID(fmt.Sprint(rapid.IntRange(0, 8).Draw(t, "robot"))), Seq: rapid.Uint64().Draw(t, "seq"), ReceivedAt: now,
				At:         now.Add(time.Duration(rapid.IntRange(-20_000, 20_000).Draw(t, "skew")) * time.Millisecond),
				Vertex:     fleet.Vertex(rapid.IntRange(-1, 200).Draw(t, "vertex")),
				MapVersion: rapid.IntRange(0, 2).Draw(t, "version"), State: fleet.RobotState(rapid.IntRange(0, 9).Draw(t, "state")),
				WaitingFor: fleet.Cause(rapid.IntRange(0, 18).Draw(t, "cause")), GoalZone: rapid.SampledFrom([]fleet.ZoneID{"", "x", g.Zones[0].ID}).Draw(t, "goal"),
				X: rapid.Float64().Draw(t, "x"), Y: rapid.Float64Range(0, 9).Draw(t, "y"), Located: rapid.Bool().Draw(t, "located"),
				VelocityMPS: rapid.Float64().Draw(t, "velocity"), SamplingHz: rapid.Float64Range(-1, 10).Draw(t, "hz"), Zone: g.Zones[0].ID,
			}
			s.Add(&m)
			if rapid.Bool().Draw(t, "close") && s.Due(now) {
				for _, sc := range s.Close(now) {
					check(t, &sc)
				}
			}
		}
		if _, err := json.Marshal(s.Learned()); err != nil {
			t.Fatal(err)
		}
	})
}

func check(t *rapid.T, sc *congestion.Score) {
	if _, err := json.Marshal(sc); err != nil {
		t.Fatalf("%+v: %v", sc, err)
	}
	for name, v := range map[string]float64{
		"index": sc.Index, "risk": sc.Risk, "confidence": sc.Confidence, "ratio": sc.SpeedRatio, "waiting": sc.WaitingShare, "forecast": sc.Forecast,
		"trend": (sc.Trend + 1) / 2,
	} {
		if !(v >= 0 && v <= 1) {
			t.Fatalf("%s is %v: %+v", name, v, sc)
		}
	}
	for name, v := range map[string]float64{
		"speed": sc.SpeedMPS, "free": sc.FreeMPS, "production": sc.Production, "density": sc.Density, "critical": sc.Critical, "greatest": sc.Greatest,
		"queue": float64(sc.Queue), "occupancy": float64(sc.Occupancy),
	} {
		if !(v >= 0) || math.IsInf(v, 0) {
			t.Fatalf("%s is %v: %+v", name, v, sc)
		}
	}
}
