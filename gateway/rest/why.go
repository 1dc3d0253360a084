package rest

import (
	"context"
	"net/http"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
	"starling/gateway/auth"
)

type objectBody struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

type remedyBody struct {
	Label   string         `json:"label"`
	Method  string         `json:"method"`
	Path    string         `json:"path"`
	Body    map[string]any `json:"body" nullable:"true"`
	Roles   []string       `json:"roles" doc:"who may press it: one of these roles"`
	Allowed *bool          `json:"allowed" doc:"whether the token that asked may press it; null in answers that are shared"`
	_       struct{}       `nullable:"true"`
}

type causeBody struct {
	Cause    string      `json:"cause"`
	Level    string      `json:"level" enum:"robot,zone,dispatcher" doc:"the part of the engine that says so"`
	Object   objectBody  `json:"object"`
	Text     string      `json:"text" doc:"the cause in one sentence"`
	Since    *string     `json:"since"`
	Remedy   *remedyBody `json:"remedy"`
	Solves   bool        `json:"solves_itself" doc:"it ends by itself: nothing has to be done"`
	Expected *float64    `json:"expected_s" doc:"after about so long, where that can be told"`
}

type whyBody struct {
	Object  objectBody  `json:"object"`
	Waiting bool        `json:"waiting"`
	Since   *string     `json:"since"`
	Chain   []causeBody `json:"chain" doc:"from what one sees to the root, which is the last one"`
}

// remedyOf renders a remedy. who = nil: for everybody.
func (a *api) remedyOf(r *dispatch.Remedy, who *auth.Identity) *remedyBody {
	if r == nil {
		return nil
	}
	b := &remedyBody{Label: r.Label, Method: r.Method, Path: r.Path, Body: r.Body, Roles: []string{}}
	rule := a.policy.Rule(r.Door)
	if rule == nil {
		return b
	}
	b.Roles = rule.Every()
	if who != nil {
		may := rule.Allows(who)
		b.Allowed = &may
	}
	return b
}

func (a *api) whyOf(kind, id string, chain []dispatch.Link, who *auth.Identity) whyBody {
	b := whyBody{Object: objectBody{kind, id}, Waiting: len(chain) > 0, Chain: []causeBody{}}
	for i := range chain {
		l := &chain[i]
		c := causeBody{
			Cause: l.Cause, Level: string(l.Level), Object: objectBody{l.ObjectType, l.ObjectID}, Text: l.Text, Since: tsp(l.Since),
			Remedy: a.remedyOf(l.Remedy, who), Solves: l.Solves,
		}
		if l.Solves && l.Expected > 0 {
			s := l.Expected.Round(time.Second).Seconds()
			c.Expected = &s
		}
		b.Chain = append(b.Chain, c)
	}
	if len(chain) > 0 {
		b.Since = tsp(chain[0].Since)
	}
	return b
}

// evidence gathers what explanations of a warehouse are made of. The store is asked for nothing before a chain needs it.
func (a *api) evidence(ctx context.Context, shard fleet.Shard) *dispatch.Facts {
	f := &dispatch.Facts{
		Now: a.Now(), ID: shard.Warehouse,
		Robot: func(id fleet.RobotID) *robot.View {
			v, _, ok := a.Views.Robot(shard, id)
			if !ok {
				return nil
			}
			return &v
		},
		Robots: func(see func(*robot.View) bool) { a.Views.Robots(shard, see) },
		Task: func(id fleet.TaskID) *task.View {
			v, ok := a.Views.Task(shard, id)
			if !ok {
				return nil
			}
			return &v
		},
		Zone: func(id fleet.ZoneID) *zone.View {
			v, _, ok := a.Views.Zone(shard, id)
			if !ok {
				return nil
			}
			return &v
		},
		Lane:     func(id fleet.LaneID) *dispatch.ChangedLane { return a.laneNow(ctx, shard.Tenant, id) },
		Activate: func() *dispatch.Activatable { return a.activatable(ctx, shard) },
	}
	if v, _, ok := a.Views.Warehouse(shard); ok {
		f.Warehouse = &v
	}
	if g, err := a.Engine.Ground(ctx, shard); err == nil {
		f.Graph, f.Laid = g.Graph, g.Laid
	}
	if f.Graph != nil {
		f.KeptOut = func() map[fleet.Vertex][]dispatch.KeepOut {
			out := map[fleet.Vertex][]dispatch.KeepOut{}
			_ = a.keepOuts(ctx, shard.Tenant, f.Graph.MapID, func(z *fact.Zone) { // where the store is away: what is known without
				for _, v := range f.Graph.Inside(z.Polygon) {
					out[v] = append(out[v], dispatch.KeepOut{Zone: z.ID, Name: z.Name})
				}
			})
			return out
		}
	}
	return f
}

func (a *api) laneNow(ctx context.Context, tenant fleet.TenantID, id fleet.LaneID) *dispatch.ChangedLane {
	l, err := a.Facts.GetLane(ctx, tenant, id)
	if err != nil {
		return nil
	}
	return &dispatch.ChangedLane{Closed: l.Closed, Reason: l.Reason, Since: l.ChangedAt}
}

// activatable is the newest version without errors of the warehouse's maps, nil where there is none.
func (a *api) activatable(ctx context.Context, shard fleet.Shard) *dispatch.Activatable {
	maps, err := a.Facts.ListMaps(ctx, shard.Tenant, shard.Warehouse, fact.Page{Limit: 50})
	if err != nil {
		return nil
	}
	var best *dispatch.Activatable
	var newest time.Time
	for i := range maps.Items {
		m := &maps.Items[i]
		versions, err := a.Facts.ListMapVersions(ctx, shard.Tenant, m.ID, fact.Page{Limit: 50})
		if err != nil {
			continue
		}
		for j := range versions.Items {
			v := &versions.Items[j]
			if len(v.Report.Errors) == 0 && (best == nil || v.CreatedAt.After(newest)) {
				best, newest = &dispatch.Activatable{Map: m.ID, Version: v.Version, Name: m.Name}, v.CreatedAt
			}
		}
	}
	return best
}

func (a *api) explanations() {
	type out struct{ Body whyBody }
	type ofRobot struct {
		ID string `path:"robot_id" format:"uuid"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/robots/{robot_id}/why", id: "why-robot", summary: "Why a robot waits", tag: "robots", engine: true},
		func(ctx context.Context, who *auth.Identity, in *ofRobot) (*out, error) {
			r, err := a.robot(ctx, who, in.ID)
			if err != nil {
				return nil, err
			}
			chain := a.evidence(ctx, fleet.Shard{Tenant: who.Tenant, Warehouse: r.Spec.Warehouse}).WhyRobot(r.Spec.ID)
			return &out{a.whyOf("robot", in.ID, chain, who)}, nil
		})
	type ofTask struct {
		ID string `path:"task_id" format:"uuid"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/tasks/{task_id}/why", id: "why-task", summary: "Why a task does not go on", tag: "tasks", engine: true},
		func(ctx context.Context, who *auth.Identity, in *ofTask) (*out, error) {
			t, err := a.task(ctx, who, in.ID)
			if err != nil {
				return nil, err
			}
			return &out{a.whyOf("task", in.ID, a.evidence(ctx, t.Spec.Shard).WhyTask(&t), who)}, nil
		})
}
