package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
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
