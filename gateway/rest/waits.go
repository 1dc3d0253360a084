package rest

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/gateway/auth"
)

// maxWaits is how many waits an answer lists, and maxChain how long the chain of one robot may be in it.
const (
	maxWaits = 2000
	maxChain = 200
)

type waitBody struct {
	RobotID  string `json:"robot_id" format:"uuid"`
	HolderID string `json:"holder_id" format:"uuid" doc:"for whom it waits"`
	Cause    string `json:"cause"`
	Since    string `json:"since" format:"date-time"`
}

type waitsBody struct {
	At     string     `json:"at" format:"date-time"`
	Total  int        `json:"total" doc:"robots of the warehouse that wait for another"`
	Waits  []waitBody `json:"waits" doc:"at most 2,000: those of robot_id to its root first, then rings, then those in the rectangle that last longest"`
	Cycles [][]string `json:"cycles" doc:"robots that wait for each other in a ring"`
}

// waits lists who waits for whom: the edges of the wait-for graph.
func (a *api) waits() {
	type query struct {
		WarehouseID string    `query:"warehouse_id" required:"true" format:"uuid"`
		RobotID     string    `query:"robot_id" format:"uuid" doc:"the chain of this robot is in the answer wherever it stands"`
		Rect        []float64 `query:"rect" minItems:"4" maxItems:"4" doc:"x0,y0,x1,y1, map metres: robots that wait there"`
	}
	type out struct{ Body waitsBody }
	add(a, op{method: http.MethodGet, path: "/api/v1/waits", id: "list-waits", summary: "Who waits for whom just now", tag: "robots", engine: true},
		func(ctx context.Context, who *auth.Identity, in *query) (*out, error) {
			shard, err := a.shardOf(ctx, who, in.WarehouseID, "query.warehouse_id")
			if err != nil {
				return nil, err
			}
			inside := func(id fleet.RobotID) bool {
				if len(in.Rect) != 4 {
					return true
				}
				if in.Rect[0] >= in.Rect[2] || in.Rect[1] >= in.Rect[3] { // nobody needs to be looked for
					return false
				}
				v, _, ok := a.Views.Robot(shard, id)
				return ok && v.Located && v.Pose.X >= in.Rect[0] && v.Pose.Y >= in.Rect[1] && v.Pose.X <= in.Rect[2] && v.Pose.Y <= in.Rect[3]
			}
			v, _, ok := a.Views.Warehouse(shard)
			if !ok {
				v = dispatch.View{At: a.Now()}
			}
			return &out{waitsOf(&v, fleet.RobotID(in.RobotID), inside)}, nil
		})
}

// waitsOf lists the waits of a warehouse: the chain that begins with robot id, and those of robots that are inside.
func waitsOf(v *dispatch.View, id fleet.RobotID, inside func(fleet.RobotID) bool) waitsBody {
	b := waitsBody{At: ts(v.At), Waits: []waitBody{}, Cycles: [][]string{}}
	held := make(map[fleet.RobotID]*fleet.Wait)
	var edges []*fleet.Wait
	for i := range v.Waits {
		w := &v.Waits[i]
		// A robot at a border is known to two zones: the first word counts.
		if w.Holder == "" || w.Holder == w.Robot || held[w.Robot] != nil {
			continue
		}
		held[w.Robot] = w
		edges = append(edges, w)
	}
	b.Total = len(edges)
	told := map[fleet.RobotID]bool{}
	tell := func(w *fleet.Wait) {
		told[w.Robot] = true
		b.Waits = append(b.Waits, waitBody{string(w.Robot), string(w.Holder), w.Cause.String(), ts(w.Since)})
	}
	for w := held[id]; w != nil && !told[w.Robot] && len(told) < maxChain; w = held[w.Holder] {
		tell(w)
	}
	for _, c := range v.Cycles {
		for _, r := range c {
			if w := held[r]; w != nil && !told[r] && len(b.Waits) < maxWaits {
				tell(w)
			}
		}
	}
	slices.SortFunc(edges, func(x, y *fleet.Wait) int { return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.Robot, y.Robot)) })
	for _, w := range edges {
		if len(b.Waits) >= maxWaits {
			break
		}
		if !told[w.Robot] && inside(w.Robot) {
			tell(w)
		}
	}
	for _, c := range v.Cycles {
		ids := make([]string, len(c))
		for i, r := range c {
			ids[i] = string(r)
		}
		b.Cycles = append(b.Cycles, ids)
	}
	return b
}
