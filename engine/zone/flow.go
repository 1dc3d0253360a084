package zone

import (
	"cmp"
	"math"
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// The zone notes for how long robots wait for each lane that starts here, beyond what the lane and the turn into it take.
// What lanes cost as they are driven now is seen on the page, and routes are led around it (docs/adr/0011).
const (
	flowEvery   = 5 * time.Second  // lanes without robots are forgotten in these steps
	flowFade    = 0.85             // what is left of a lane that nobody drives after one of them: half in 21 s
	flowWeight  = 0.2              // of the newest wait
	flowLongest = 60 * time.Second // counts as the wait of one robot at most
	flowTurn    = 1.0              // seconds for a quarter turn
	flowSlack   = 0.5              // seconds that nobody calls a wait
	flowDear    = 1.1              // a lane is listed from so many times its free cost on
	flowNews    = 0.2              // and again where its cost has changed by this share
	flowMost    = 64               // lanes listed
)

// flow is what is known of the lanes that start in the zone. Bound: those lanes.
type flow struct {
	first []int32 // by local vertex: its first lane in lanes
	lanes []laneFlow
	next  time.Time // when to fade
	shown []LaneFlow
}

// laneFlow is one lane as it is driven now.
type laneFlow struct {
	excess float32 // seconds of waiting, smoothed
	robots float32 // that have driven it, fading
	driven bool    // since the last fading
}

func newFlow(g *roadmap.Graph, number int) *flow {
	z := &g.Zones[number]
	f := &flow{first: make([]int32, len(z.Vertices))}
	n := 0
	for l, v := range z.Vertices {
		f.first[l] = int32(n)
		n += len(g.Out[v])
	}
	f.lanes = make([]laneFlow, n)
	return f
}

// of is the lane that leads from v, a vertex with local number l; lanes are numbered by the vertex they leave.
func (f *flow) of(g *roadmap.Graph, l, lane int32) *laneFlow {
	return &f.lanes[f.first[l]+lane-g.Out[g.Lanes[lane].From][0]]
}

// noteLane counts that the guest has driven from where it stood to v. Who had nowhere to go, or could not drive, has not
// waited.
func (s *State) noteLane(g *guest, v fleet.Vertex) {
	l := s.ours(g.at)
	if s.flow == nil || l == none || !s.driving(g) {
		return
	}
	lane, ok := s.g.Lane(g.at, v)
	if !ok {
		return
	}
	ln := &s.g.Lanes[lane]
	free := ln.LengthM/s.pace(g, ln) + flowTurn*float64(turns(g.faced, ln.HeadingRad)) + flowSlack
	f := s.flow.of(s.g, l, lane)
	f.wait(min(s.now.Sub(s.waiting(g)), flowLongest).Seconds() - free)
	f.robots++
	f.driven = true
}

func (f *laneFlow) wait(seconds float64) {
	f.excess += (float32(max(0, seconds)) - f.excess) * flowWeight
}

// driving says that the guest is on its way.
func (s *State) driving(g *guest) bool {
	return g.req.Goal != fleet.NoVertex && g.req.Goal != g.at && !g.stands.IsZero() && g.movable() && !s.now.Before(g.yieldUntil)
}

// waiting is since when the guest has stood here and wanted to go on.
func (s *State) waiting(g *guest) time.Time {
	if g.req.Since.After(g.stands) {
		return g.req.Since
	}
	return g.stands
}

func (s *State) pace(g *guest, ln *roadmap.Lane) float64 {
	pace := 1.0
	if g.req.SpeedMPS > 0 {
		pace = g.req.SpeedMPS
	}
	if ln.SpeedMPS > 0 {
		pace = min(pace, ln.SpeedMPS)
	}
	return pace
}

// fade lets lanes be forgotten that nobody drives, unless somebody waits for them, and lists the dear ones anew.
func (s *State) fade() {
	f := s.flow
	if f == nil || s.now.Before(f.next) {
		return
	}
	f.next = s.now.Add(flowEvery)
	for i := range s.guests {
		g := &s.guests[i]
		l := s.ours(g.at)
		if !g.used || l == none || g.told.Cause == fleet.CauseNone || !s.driving(g) {
			continue
		}
		if lane, ok := s.g.Lane(g.at, g.told.Vertex); ok {
			w := s.now.Sub(s.waiting(g))
			if ln := f.of(s.g, l, lane); w > flowEvery && float32(w.Seconds()) > ln.excess {
				ln.wait(min(w, flowLongest).Seconds())
				ln.driven, ln.robots = true, max(1, ln.robots)
			}
		}
	}
	for i := range f.lanes {
		ln := &f.lanes[i]
		if !ln.driven {
			ln.excess *= flowFade
		}
		ln.robots *= flowFade
		ln.driven = false
	}
	f.list(s.g, &s.g.Zones[s.number])
}

// list makes the list of dear lanes, a new one where it says something new.
func (f *flow) list(g *roadmap.Graph, z *roadmap.Zone) {
	var dear []LaneFlow
	for l, v := range z.Vertices {
		for _, lane := range g.Out[v] {
			ln := f.of(g, int32(l), lane)
			if ln.excess < 0.1 || ln.robots < 0.5 {
				continue
			}
			free := g.LaneCost(lane)
			cost := min(float64(free)+10*float64(ln.excess), roadmap.MaxFlow*float64(free), math.MaxUint16-1)
			if cost < flowDear*float64(free) {
				continue
			}
			dear = append(dear, LaneFlow{Lane: lane, Cost: uint16(cost), Free: free, Robots: uint16(ln.robots + 0.5)})
		}
	}
	if len(dear) > flowMost {
		slices.SortFunc(dear, func(a, b LaneFlow) int {
			if c := cmp.Compare(b.burden(), a.burden()); c != 0 {
				return c
			}
			return cmp.Compare(a.Lane, b.Lane)
		})
		dear = dear[:flowMost]
	}
	slices.SortFunc(dear, func(a, b LaneFlow) int { return cmp.Compare(a.Lane, b.Lane) })
	if flowDiffers(f.shown, dear) {
		f.shown = dear
	}
}

// burden is what all its robots together lose on a lane.
func (l LaneFlow) burden() int { return int(l.Cost-l.Free) * int(l.Robots) }

// flowDiffers says that b is news to who knows a.
func flowDiffers(a, b []LaneFlow) bool {
	if len(a) != len(b) {
		return true
	}
	for i := range a {
		if a[i].Lane != b[i].Lane || math.Abs(float64(a[i].Cost)-float64(b[i].Cost)) > flowNews*float64(a[i].Cost) {
			return true
		}
	}
	return false
}

// flowView is what the view says of lanes.
func (s *State) flowView() []LaneFlow {
	if s.flow == nil {
		return nil
	}
	return s.flow.shown
}
