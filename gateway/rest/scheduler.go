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
	"starling/engine/zone"
	"starling/gateway/auth"
)

// planRobots is how many robots a dry run looks at.
const planRobots = 20_000

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
				if specs[i], err = m.spec(ctx, w, payloadOf(w), prefix, &f); err != nil {
					return nil, err
				}
			}
			if err := f.err(); err != nil {
				return nil, err
			}
			ground, err := a.Engine.Ground(ctx, specs[0].Shard)
			if err == nil && ground.Graph != m.floors[in.Body.WarehouseID].graph {
				err = fact.ErrPrecondition // another map has become the active one meanwhile, or none is
			}
			if err != nil {
				return nil, err
			}
			return &out{a.plan(ground, specs[0].Shard, specs)}, nil
		})
}

// payloadOf is what a dry run needs of a payload: what the task asks of a robot.
func payloadOf(w *newTask) []byte {
	if len(w.Payload.Requires) == 0 {
		return []byte(`{}`)
	}
	return encoded(map[string]any{"requires": w.Payload.Requires})
}

// plan runs the dispatcher's own batch on the newest views.
func (a *api) plan(ground dispatch.Ground, shard fleet.Shard, specs []task.Spec) planBody {
	d := dispatch.Dry{Ground: ground, Tasks: specs, Flow: a.flow(ground.Graph, shard)}
	if v, _, ok := a.Views.Warehouse(shard); ok {
		d.Charging, d.Policy, d.Active = v.Charging, v.Policy, v.Active
	}
	a.Views.Robots(shard, func(v *robot.View) bool {
		if v.Spec != nil && v.Spec.Control == fleet.ControlEngine {
			d.Robots = append(d.Robots, dispatch.RobotOf(v))
		}
		return len(d.Robots) < planRobots
	})
	slices.SortFunc(d.Robots, func(a, b dispatch.Robot) int { return cmp.Compare(a.ID, b.ID) })
	planned, rest := dispatch.Plan(a.Now(), d)
	b := planBody{Assignments: []plannedBody{}, Unassigned: []unplannedBody{}}
	for i := range planned {
		p := &planned[i]
		x := plannedBody{
			Index: p.Index, RobotID: string(p.Robot), Route: []stopBody{}, ExpectedWaitS: p.Wait.Seconds(), Cost: costOf(p.Cost),
			Alternatives: alternativesOf(p.Alternatives), Reason: p.Reason,
		}
		for _, s := range p.Route {
			x.Route = append(x.Route, stopBody{ground.Graph.Vertices[s.Vertex].ID, ts(s.At)})
		}
		b.Assignments = append(b.Assignments, x)
	}
	for _, u := range rest {
		b.Unassigned = append(b.Unassigned, unplannedBody{u.Index, u.Reason})
	}
	return b
}

// flow is what the zones say of lanes that cost more than without traffic.
func (a *api) flow(g *roadmap.Graph, shard fleet.Shard) map[int32]zone.LaneFlow {
	out := map[int32]zone.LaneFlow{}
	for i := range g.Zones {
		v, _, ok := a.Views.Zone(shard, g.Zones[i].ID)
		if !ok {
			continue
		}
		for _, f := range v.Flow {
			if f.Lane >= 0 && int(f.Lane) < len(g.Lanes) { // else of another map
				out[f.Lane] = f
			}
		}
	}
	return out
}
