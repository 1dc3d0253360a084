package rest

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/gateway/auth"
)

// planSpeed is the speed of a dry run where robots do not say theirs, and planTables how many tables it keeps.
const (
	planSpeed  = 1.0
	planTables = 64
)

type planWish struct {
	WarehouseID uid       `json:"warehouse_id" format:"uuid"`
	Items       []newTask `json:"tasks" minItems:"1" maxItems:"100"`
}

func (a *api) scheduler() {
	type query struct {
		Paged
		WarehouseID string `query:"warehouse_id" format:"uuid"`
		TaskID      string `query:"task_id" format:"uuid"`
		RobotID     string `query:"robot_id" format:"uuid"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/scheduler/decisions", id: "list-decisions", summary: "Decisions, the newest first", tag: "scheduler"},
		func(ctx context.Context, who *auth.Identity, in *query) (*listed[decisionBody], error) {
			f := fact.DecisionFilter{Warehouse: fleet.WarehouseID(in.WarehouseID), Task: fleet.TaskID(in.TaskID), Robot: fleet.RobotID(in.RobotID)}
			l, err := a.Facts.ListDecisions(ctx, who.Tenant, f, in.page())
			return listOf(l, decisionOf), err
		})
	type wish struct {
		RawBody []byte
		Body    planWish
	}
	type out struct{ Body planBody }
	add(a, op{method: http.MethodPost, path: "/api/v1/scheduler/plan", id: "plan", summary: "What would be decided now; changes nothing", tag: "scheduler", engine: true},
		func(ctx context.Context, who *auth.Identity, in *wish) (*out, error) {
			var f faults
			m := a.maker(who)
			specs := make([]task.Spec, len(in.Body.Items))
			for i := range in.Body.Items {
				w := &in.Body.Items[i]
				prefix := fmt.Sprintf("body.tasks[%d].", i)
				if w.WarehouseID != in.Body.WarehouseID {
					f.add(prefix+"warehouse_id", "want the plan's warehouse")
					continue
				}
				var err error
				if specs[i], err = m.spec(ctx, w, []byte(`{}`), prefix, &f); err != nil {
					return nil, err
				}
			}
			if err := f.err(); err != nil {
				return nil, err
			}
			return &out{a.plan(m.floors[in.Body.WarehouseID].graph, specs)}, nil
		})
}

// plan runs the dispatcher's own batch on the newest views.
func (a *api) plan(g *roadmap.Graph, specs []task.Spec) planBody {
	var robots []dispatch.Robot
	a.Views.Robots(specs[0].Shard, func(v *robot.View) bool {
		free := v.Connection == fleet.Online && v.Task == "" && v.Goal == fleet.NoVertex && v.Vertex != fleet.NoVertex &&
			v.Spec != nil && v.Spec.Control == fleet.ControlEngine && v.State != fleet.Error && v.State != fleet.Manual && v.State != fleet.Paused
		r := dispatch.Robot{ID: v.ID, Free: free, At: v.Vertex, Battery: v.Battery}
		if v.Spec != nil {
			r.Fleet = v.Spec.Fleet
		}
		robots = append(robots, r)
		return len(robots) < dispatch.MaxBatch
	})
	slices.SortFunc(robots, func(a, b dispatch.Robot) int { return cmp.Compare(a.ID, b.ID) })
	planned, rest := dispatch.Plan(a.Now(), g, roadmap.NewTableMap(g, planTables), robots, specs, planSpeed)
	b := planBody{Assignments: []plannedBody{}, Unassigned: []unplannedBody{}}
	for _, p := range planned {
		x := plannedBody{Index: p.Index, RobotID: string(p.Robot), Route: []stopBody{}, Cost: costOf(p.Cost)}
		for _, s := range p.Route {
			x.Route = append(x.Route, stopBody{g.Vertices[s.Vertex].ID, ts(s.At)})
		}
		b.Assignments = append(b.Assignments, x)
	}
	for _, u := range rest {
		b.Unassigned = append(b.Unassigned, unplannedBody{u.Index, u.Reason})
	}
	return b
}
