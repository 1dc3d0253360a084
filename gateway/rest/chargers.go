package rest

import (
	"math"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
)

// charger is a charging vertex, and how many robots stand on it or mean to go there.
type charger struct {
	at    fleet.Vertex
	taken int
}

// chargers lists the charging vertices of the active map as the views show them; empty, not nil, where there is none.
func (a *api) chargers(shard fleet.Shard, g *roadmap.Graph) []charger {
	out, index := []charger{}, map[fleet.Vertex]int{}
	for v := range g.Vertices {
		if g.Vertices[v].Charging {
			index[fleet.Vertex(v)] = len(out)
			out = append(out, charger{at: fleet.Vertex(v)})
		}
	}
	if len(out) == 0 || a.Views == nil {
		return out
	}
	a.Views.Robots(shard, func(v *robot.View) bool {
		for _, at := range []fleet.Vertex{v.Vertex, v.Goal} {
			if i, ok := index[at]; ok && v.MapID == g.MapID && v.MapVersion == g.Version {
				out[i].taken++
			}
		}
		return true
	})
	return out
}

// choose picks the charger that the fewest robots want, and of those the one nearest to the robot as the crow flies;
// nil where there is none. Who waits at last for whom is the zones' business.
func (a *api) choose(shard fleet.Shard, g *roadmap.Graph, all []charger, id fleet.RobotID) *charger {
	away := func(*charger) float64 { return 0 }
	if id != "" && a.Views != nil {
		if v, _, ok := a.Views.Robot(shard, id); ok && v.Located {
			away = func(c *charger) float64 {
				at := &g.Vertices[c.at]
				return math.Hypot(at.X-v.Pose.X, at.Y-v.Pose.Y)
			}
		}
	}
	var best *charger
	for i := range all {
		c := &all[i]
		if best == nil || c.taken < best.taken || c.taken == best.taken && away(c) < away(best) {
			best = c
		}
	}
	return best
}
