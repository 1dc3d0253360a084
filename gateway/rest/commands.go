package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/gateway/auth"
)

type newCommand struct {
	Command   string `json:"command" enum:"pause,resume,stop,go_to,charge,clear_errors"`
	ExpiresIn whole  `json:"expires_in_s,omitempty" minimum:"1" maximum:"86400" default:"30"`
	Vertex    string `json:"vertex,omitempty" maxLength:"128" doc:"go_to, charge: a vertex id or a place's name"`
}

type commandID struct {
	CommandID string `json:"command_id" format:"uuid"`
}

type stageBody struct {
	Stage string `json:"stage" enum:"accepted,sent,acknowledged,done,failed,expired"`
	At    string `json:"at" format:"date-time"`
}

type commandBody struct {
	CommandID string      `json:"command_id" format:"uuid"`
	Command   string      `json:"command"`
	Reason    *string     `json:"reason"`
	Stages    []stageBody `json:"stages"`
}

func (a *api) commands() {
	type post struct {
		Keyed
		ID      string `path:"robot_id" format:"uuid"`
		RawBody []byte
		Body    newCommand
	}
	add(a, op{method: http.MethodPost, path: "/api/v1/robots/{robot_id}/commands", id: "command-robot", summary: "Tell a robot what to do", tag: "robots", status: 202, engine: true, answer: commandID{}},
		func(ctx context.Context, who *auth.Identity, in *post) (*created, error) {
			return a.once(ctx, who.Tenant, "POST /robots/"+in.ID+"/commands", &in.Keyed, in.RawBody, func() (fact.Answer, func(*fact.Idempotency) error, error) {
				r, err := a.robot(ctx, who, in.ID)
				if err != nil {
					return fact.Answer{}, nil, err
				}
				shard := fleet.Shard{Tenant: who.Tenant, Warehouse: r.Spec.Warehouse}
				c, err := a.newCommand(ctx, who, shard, r.Spec.ID, &in.Body)
				if err != nil {
					return fact.Answer{}, nil, err
				}
				requestOf(ctx).detail("command", in.Body.Command)
				ans, err := render(202, "/api/v1/robots/"+in.ID+"/commands/"+string(c.ID), commandID{string(c.ID)})
				return ans, func(i *fact.Idempotency) error { return a.Engine.CommandRobot(ctx, shard, c, by(who), traceOf(ctx), i) }, err
			})
		})
	type get struct {
		ID      string `path:"robot_id" format:"uuid"`
		Command string `path:"command_id" format:"uuid"`
	}
	type out struct{ Body commandBody }
	add(a, op{method: http.MethodGet, path: "/api/v1/robots/{robot_id}/commands/{command_id}", id: "get-command", summary: "How far a command has got", tag: "robots"},
		func(ctx context.Context, who *auth.Identity, in *get) (*out, error) {
			c, err := a.Facts.GetCommand(ctx, who.Tenant, fleet.RobotID(in.ID), fleet.CommandID(in.Command))
			if err != nil {
				return nil, err
			}
			b := commandBody{CommandID: string(c.ID), Command: c.Kind.String(), Reason: text(c.Reason), Stages: []stageBody{}}
			for _, s := range c.Stages {
				b.Stages = append(b.Stages, stageBody{s.Stage.String(), ts(s.At)})
			}
			return &out{b}, nil
		})
}

func (a *api) newCommand(ctx context.Context, who *auth.Identity, shard fleet.Shard, id fleet.RobotID, w *newCommand) (robot.Command, error) {
	kind, _ := fleet.ParseCommand(w.Command)
	now := a.Now().Truncate(time.Millisecond)
	c := robot.Command{
		ID: fleet.CommandID(uuid.NewString()), Robot: id, Kind: kind, Vertex: fleet.NoVertex, Place: w.Vertex, At: now,
		ExpiresAt: now.Add(time.Duration(w.ExpiresIn) * time.Second), By: by(who).User,
	}
	if kind != fleet.CommandGoTo && kind != fleet.CommandCharge {
		return c, nil
	}
	g, err := a.Engine.ActiveGraph(ctx, shard)
	if err != nil {
		return c, err
	}
	if g == nil {
		return c, fact.ErrPrecondition
	}
	if w.Vertex == "" { // charge, wherever it is best
		to := a.choose(shard, g, a.chargers(shard, g), id)
		if to == nil {
			return c, invalid("body.vertex", "is needed: the map has no charging vertex")
		}
		c.Vertex, c.Place = to.at, g.Vertices[to.at].ID
		return c, nil
	}
	v, ok := g.Find(w.Vertex)
	if !ok {
		return c, invalid("body.vertex", "no such place or vertex on the active map")
	}
	c.Vertex = v
	return c, nil
}

type objectBody struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

type remedyBody struct {
	Label  string         `json:"label"`
	Method string         `json:"method"`
	Path   string         `json:"path"`
	Body   map[string]any `json:"body" nullable:"true"`
	_      struct{}       `nullable:"true"`
}

type causeBody struct {
	Cause  string      `json:"cause"`
	Object objectBody  `json:"object"`
	Since  *string     `json:"since"`
	Remedy *remedyBody `json:"remedy"`
}

type whyBody struct {
	Object  objectBody  `json:"object"`
	Waiting bool        `json:"waiting"`
	Since   *string     `json:"since"`
	Chain   []causeBody `json:"chain"`
}

func whyOf(kind, id string, chain []dispatch.Link) whyBody {
	b := whyBody{Object: objectBody{kind, id}, Waiting: len(chain) > 0, Chain: []causeBody{}}
	for i := range chain {
		l := &chain[i]
		c := causeBody{Cause: l.Cause, Object: objectBody{l.ObjectType, l.ObjectID}, Since: tsp(l.Since)}
		if l.Remedy != nil {
			c.Remedy = &remedyBody{Label: l.Remedy.Label, Method: l.Remedy.Method, Path: l.Remedy.Path, Body: l.Remedy.Body}
		}
		b.Chain = append(b.Chain, c)
	}
	if len(chain) > 0 {
		b.Since = tsp(chain[0].Since)
	}
	return b
}

// evidence gathers what explanations of a warehouse are made of.
func (a *api) evidence(ctx context.Context, shard fleet.Shard) *dispatch.Facts {
	f := &dispatch.Facts{
		Robot: func(id fleet.RobotID) *robot.View {
			v, _, ok := a.Views.Robot(shard, id)
			if !ok {
				return nil
			}
			return &v
		},
		Vertex: func(fleet.Vertex) string { return "" },
	}
	if v, _, ok := a.Views.Warehouse(shard); ok {
		f.Warehouse = &v
	}
	if g, err := a.Engine.ActiveGraph(ctx, shard); err == nil && g != nil {
		f.Vertex = func(v fleet.Vertex) string {
			if v < 0 || int(v) >= len(g.Vertices) {
				return ""
			}
			return g.Vertices[v].ID
		}
	}
	return f
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
			return &out{whyOf("robot", in.ID, chain)}, nil
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
			return &out{whyOf("task", in.ID, a.evidence(ctx, t.Spec.Shard).WhyTask(&t))}, nil
		})
}

type costBody struct {
	Travel   float64 `json:"travel"`
	Queue    float64 `json:"queue"`
	Battery  float64 `json:"battery"`
	Priority float64 `json:"priority"`
	Total    float64 `json:"total"`
}

func costOf(c task.Cost) costBody { return costBody{c.Travel, c.Queue, c.Battery, c.Priority, c.Total} }

type alternativeBody struct {
	RobotID string  `json:"robot_id" format:"uuid"`
	Total   float64 `json:"total"`
	Reason  string  `json:"reason"`
}

type decisionBody struct {
	DecisionID   string            `json:"decision_id" format:"uuid"`
	DecidedAt    string            `json:"decided_at" format:"date-time"`
	TaskID       *string           `json:"task_id"`
	RobotID      *string           `json:"robot_id"`
	Cost         costBody          `json:"cost" doc:"in seconds"`
	Alternatives []alternativeBody `json:"alternatives"`
	Cycle        []string          `json:"cycle" doc:"robots of a deadlock that this decision broke"`
	Reason       string            `json:"reason"`
	InputsDigest string            `json:"inputs_digest"`
}

func decisionOf(d *fact.Decision) decisionBody {
	b := decisionBody{
		DecisionID: string(d.ID), DecidedAt: ts(d.At), TaskID: text(d.Task), RobotID: text(d.Robot), Cost: costOf(d.Cost),
		Alternatives: []alternativeBody{}, Cycle: []string{}, Reason: d.Reason, InputsDigest: d.InputsDigest,
	}
	for _, x := range d.Alternatives {
		b.Alternatives = append(b.Alternatives, alternativeBody{string(x.Robot), x.Total, x.Reason})
	}
	for _, r := range d.Cycle {
		b.Cycle = append(b.Cycle, string(r))
	}
	return b
}

type stopBody struct {
	Vertex string `json:"vertex"`
	At     string `json:"at" format:"date-time"`
}

type plannedBody struct {
	Index         int        `json:"index"`
	RobotID       string     `json:"robot_id" format:"uuid"`
	Route         []stopBody `json:"route"`
	ExpectedWaitS float64    `json:"expected_wait_s"`
	Cost          costBody   `json:"cost"`
}

type unplannedBody struct {
	Index  int    `json:"index"`
	Reason string `json:"reason"`
}

type planBody struct {
	Assignments []plannedBody   `json:"assignments"`
	Unassigned  []unplannedBody `json:"unassigned"`
}
