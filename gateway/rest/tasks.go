package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/gateway/auth"
	"starling/gateway/quota"
)

type progressBody struct {
	Errand int `json:"errand" doc:"errands done"`
	Of     int `json:"of"`
}

type taskJSON struct {
	TaskID        string       `json:"task_id" format:"uuid"`
	TenantID      string       `json:"tenant_id" format:"uuid"`
	WarehouseID   string       `json:"warehouse_id" format:"uuid"`
	TaskType      string       `json:"task_type" enum:"transport,patrol,go_to,charge"`
	Status        string       `json:"status" enum:"CREATED,ASSIGNED,EXECUTING,CANCELLING,SUCCEEDED,FAILED,CANCELLED"`
	Source        string       `json:"source"`
	Priority      int          `json:"priority"`
	Payload       object       `json:"payload"`
	RobotID       *string      `json:"robot_id"`
	Fleet         *string      `json:"fleet"`
	EarliestStart *string      `json:"earliest_start"`
	Deadline      *string      `json:"deadline"`
	Progress      progressBody `json:"progress"`
	Reason        *string      `json:"reason"`
	Version       int64        `json:"version"`
	CreatedAt     string       `json:"created_at" format:"date-time"`
	AssignedAt    *string      `json:"assigned_at"`
	StartedAt     *string      `json:"started_at"`
	FinishedAt    *string      `json:"finished_at"`
}

func taskBody(t *task.View) taskJSON {
	s := &t.Spec
	b := taskJSON{
		TaskID: string(s.ID), TenantID: string(s.Shard.Tenant), WarehouseID: string(s.Shard.Warehouse), TaskType: s.Type.String(), Status: t.Status.String(),
		Source: s.Source, Priority: int(s.Priority), Payload: object(s.Payload), RobotID: text(t.Robot), Fleet: text(s.Fleet),
		EarliestStart: tsp(s.EarliestStart), Deadline: tsp(s.Deadline), Progress: progressBody{t.Errand, len(s.Errands)}, Reason: text(t.Reason),
		Version: t.Version, CreatedAt: ts(s.CreatedAt), AssignedAt: tsp(t.AssignedAt), StartedAt: tsp(t.StartedAt), FinishedAt: tsp(t.FinishedAt),
	}
	if b.RobotID == nil {
		b.RobotID = text(s.Robot)
	}
	return b
}

type payloadWish struct {
	Pickup    string   `json:"pickup,omitempty" minLength:"1" maxLength:"128" doc:"place or vertex"`
	Dropoff   string   `json:"dropoff,omitempty" minLength:"1" maxLength:"128"`
	Waypoints []string `json:"waypoints,omitempty" maxItems:"100"`
	Requires  []string `json:"requires,omitempty" maxItems:"64" doc:"capabilities that the robot must have"`
	_         struct{} `additionalProperties:"true" nullable:"true"`
}

type newTask struct {
	TaskType      string      `json:"task_type" enum:"transport,patrol,go_to,charge"`
	WarehouseID   uid         `json:"warehouse_id" format:"uuid"`
	Priority      whole       `json:"priority,omitempty" minimum:"0" maximum:"9" default:"0"`
	EarliestStart *time.Time  `json:"earliest_start,omitempty"`
	Deadline      *time.Time  `json:"deadline,omitempty"`
	Payload       payloadWish `json:"payload,omitempty"`
	RobotID       uid         `json:"robot_id,omitempty" format:"uuid"`
	Fleet         string      `json:"fleet,omitempty" maxLength:"64"`
}

type newTasks struct {
	Items []newTask `json:"items" minItems:"1" maxItems:"1000"`
}

type cancelWish struct {
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

// maker turns wishes into specs; it remembers what several tasks of a batch ask alike.
type maker struct {
	a      *api
	who    *auth.Identity
	now    time.Time
	floors map[uid]*place
	robots map[uid]*robot.Spec
}

// place is a warehouse's active map, with the chargers as they are taken.
type place struct {
	graph    *roadmap.Graph
	chargers []charger // nil = not looked at yet
}

func (a *api) maker(who *auth.Identity) *maker {
	return &maker{a: a, who: who, now: a.Now().Truncate(time.Millisecond), floors: map[uid]*place{}, robots: map[uid]*robot.Spec{}}
}

// spec checks a wish. Faults go to f with prefix; an error is not the client's fault.
func (m *maker) spec(ctx context.Context, w *newTask, payload []byte, prefix string, f *faults) (task.Spec, error) {
	kind, _ := fleet.ParseTaskType(w.TaskType)
	s := task.Spec{
		ID: fleet.TaskID(uuid.NewString()), Shard: fleet.Shard{Tenant: m.who.Tenant, Warehouse: fleet.WarehouseID(w.WarehouseID)}, Type: kind,
		Priority: uint8(w.Priority), Payload: payload, Robot: fleet.RobotID(w.RobotID), Fleet: w.Fleet, Source: "api", CreatedAt: m.now, CreatedBy: by(m.who).User,
	}
	f.keepable(prefix+"payload", payload)
	if w.EarliestStart != nil {
		s.EarliestStart = w.EarliestStart.UTC().Truncate(time.Millisecond)
	}
	if w.Deadline != nil {
		s.Deadline = w.Deadline.UTC().Truncate(time.Millisecond)
	}
	p, err := m.floor(ctx, s.Shard)
	if errors.Is(err, fact.ErrNotFound) {
		f.add(prefix+"warehouse_id", "there is no such warehouse")
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if w.RobotID != "" {
		if err := m.robot(ctx, w, prefix, f); err != nil {
			return s, err
		}
	}
	m.errands(p, w, &s, prefix, f)
	return s, nil
}

func (m *maker) floor(ctx context.Context, shard fleet.Shard) (*place, error) {
	if p, ok := m.floors[uid(shard.Warehouse)]; ok {
		return p, nil
	}
	if _, err := m.a.Facts.GetWarehouse(ctx, shard.Tenant, shard.Warehouse); err != nil {
		return nil, err
	}
	g, err := m.a.Engine.ActiveGraph(ctx, shard)
	if err == nil && g == nil {
		err = newError(http.StatusPreconditionFailed, codePrecondition, "the warehouse has no active map")
	}
	if err != nil {
		return nil, err
	}
	p := &place{graph: g}
	m.floors[uid(shard.Warehouse)] = p
	return p, nil
}

func (m *maker) robot(ctx context.Context, w *newTask, prefix string, f *faults) error {
	s, ok := m.robots[w.RobotID]
	if !ok {
		r, err := m.a.Facts.GetRobot(ctx, m.who.Tenant, fleet.RobotID(w.RobotID))
		if err != nil && !errors.Is(err, fact.ErrNotFound) {
			return err
		}
		if err == nil {
			s = &r.Spec
		}
		m.robots[w.RobotID] = s
	}
	if s == nil || string(s.Warehouse) != string(w.WarehouseID) {
		f.add(prefix+"robot_id", "there is no such robot in the warehouse")
	}
	return nil
}

// errands resolves the places of a task on the active map.
func (m *maker) errands(p *place, w *newTask, s *task.Spec, prefix string, f *faults) {
	place := func(field, ref string) {
		v, ok := p.graph.Find(ref)
		if !ok {
			f.add(prefix+"payload."+field, "no such place or vertex on the active map")
			return
		}
		s.Errands, s.Places = append(s.Errands, v), append(s.Places, ref)
	}
	way := func() {
		for i, ref := range w.Payload.Waypoints {
			place(fmt.Sprintf("waypoints[%d]", i), ref)
		}
	}
	switch s.Type {
	case fleet.Transport:
		place("pickup", w.Payload.Pickup)
		way()
		place("dropoff", w.Payload.Dropoff)
	case fleet.Patrol:
		way()
	case fleet.GoTo, fleet.Charge:
		if way(); w.Payload.Dropoff != "" {
			place("dropoff", w.Payload.Dropoff)
		} else if len(w.Payload.Waypoints) == 0 && s.Type == fleet.Charge {
			m.charge(p, s, prefix, f)
		}
	}
}

// charge chooses where to charge.
func (m *maker) charge(p *place, s *task.Spec, prefix string, f *faults) {
	if p.chargers == nil {
		p.chargers = m.a.chargers(s.Shard, p.graph)
	}
	c := m.a.choose(s.Shard, p.graph, p.chargers, s.Robot)
	if c == nil {
		f.add(prefix+"payload.dropoff", "is needed: the map has no charging vertex")
		return
	}
	c.taken++
	s.Errands, s.Places = append(s.Errands, c.at), append(s.Places, p.graph.Vertices[c.at].ID)
}

// payloads takes the payloads out of a body as they were sent.
func payloads(raw []byte, batch bool) []json.RawMessage {
	type one struct {
		Payload json.RawMessage `json:"payload"`
	}
	var all struct {
		one
		Items []one `json:"items"`
	}
	_ = json.Unmarshal(raw, &all) // huma has read it before
	pick := func(o one) json.RawMessage {
		if len(o.Payload) == 0 || string(o.Payload) == "null" {
			return json.RawMessage(`{}`)
		}
		return o.Payload
	}
	if !batch {
		return []json.RawMessage{pick(all.one)}
	}
	out := make([]json.RawMessage, len(all.Items))
	for i := range all.Items {
		out[i] = pick(all.Items[i])
	}
	return out
}

type taskOut struct{ Body taskJSON }

func (a *api) tasks() {
	type create struct {
		Keyed
		RawBody []byte
		Body    newTask
	}
	add(a, op{method: http.MethodPost, path: "/api/v1/tasks", id: "create-task", summary: "Create a task", tag: "tasks", status: 201, engine: true, answer: taskJSON{}},
		func(ctx context.Context, who *auth.Identity, in *create) (*created, error) {
			out, err := a.once(ctx, who.Tenant, "POST /tasks", &in.Keyed, in.RawBody, func() (fact.Answer, func(*fact.Idempotency) error, error) {
				var f faults
				s, err := a.maker(who).spec(ctx, &in.Body, payloads(in.RawBody, false)[0], "body.", &f)
				if err == nil {
					err = f.err()
				}
				if err != nil {
					return fact.Answer{}, nil, err
				}
				if err := a.spend(ctx, who.Tenant, quota.Tasks, 1); err != nil {
					return fact.Answer{}, nil, err
				}
				requestOf(ctx).task = string(s.ID)
				ans, err := render(201, "/api/v1/tasks/"+string(s.ID), taskBody(&task.View{Spec: s, Version: 1}))
				return ans, func(i *fact.Idempotency) error {
					_, err := a.Engine.CreateTask(ctx, s, by(who), traceOf(ctx), i)
					return err
				}, err
			})
			return a.asItIs(ctx, who, out, err)
		})
	a.taskBatch()
	type query struct {
		Paged
		Status       string    `query:"status" enum:"CREATED,ASSIGNED,EXECUTING,CANCELLING,SUCCEEDED,FAILED,CANCELLED"`
		TaskType     string    `query:"task_type" enum:"transport,patrol,go_to,charge"`
		WarehouseID  string    `query:"warehouse_id" format:"uuid"`
		RobotID      string    `query:"robot_id" format:"uuid"`
		Source       string    `query:"source" enum:"api,rmf,schedule"`
		CreatedAfter time.Time `query:"created_after"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/tasks", id: "list-tasks", summary: "Tasks, the newest first", tag: "tasks"},
		func(ctx context.Context, who *auth.Identity, in *query) (*listed[taskJSON], error) {
			f := fact.TaskFilter{Status: in.Status, Type: in.TaskType, Warehouse: fleet.WarehouseID(in.WarehouseID), Robot: fleet.RobotID(in.RobotID), Source: in.Source, CreatedAfter: in.CreatedAfter}
			l, err := a.Facts.ListTasks(ctx, who.Tenant, f, in.page())
			return listOf(l, taskBody), err
		})
	type get struct {
		ID string `path:"task_id" format:"uuid"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/tasks/{task_id}", id: "get-task", summary: "A task", tag: "tasks"},
		func(ctx context.Context, who *auth.Identity, in *get) (*taskOut, error) {
			t, err := a.task(ctx, who, in.ID)
			return &taskOut{taskBody(&t)}, err
		})
	type cancel struct {
		ID   string `path:"task_id" format:"uuid"`
		Body *cancelWish
	}
	add(a, op{method: http.MethodPost, path: "/api/v1/tasks/{task_id}/cancel", id: "cancel-task", summary: "Cancel a task; always ends", tag: "tasks", engine: true},
		func(ctx context.Context, who *auth.Identity, in *cancel) (*taskOut, error) {
			reason := "cancelled by a client"
			if in.Body != nil && in.Body.Reason != "" {
				reason = in.Body.Reason
			}
			t, err := a.task(ctx, who, in.ID)
			if err != nil {
				return nil, err
			}
			v, err := a.Engine.CancelTask(ctx, t.Spec.Shard, t.Spec.ID, reason, by(who), traceOf(ctx))
			return &taskOut{taskBody(&v)}, err
		})
	a.taskEvents()
}

// task reads a task of the tenant.
func (a *api) task(ctx context.Context, who *auth.Identity, id string) (task.View, error) {
	requestOf(ctx).task = id
	return a.Facts.GetTask(ctx, who.Tenant, fleet.TaskID(id))
}

// asItIs answers a key whose first answer is not kept any more with the task as it is now.
func (a *api) asItIs(ctx context.Context, who *auth.Identity, out *created, err error) (*created, error) {
	var c *fact.ConflictError
	if !errors.As(err, &c) || c.Key != "idempotency_key" || !c.SameFingerprint || c.Existing == "" {
		return out, err
	}
	t, err := a.task(ctx, who, c.Existing)
	if err != nil {
		return nil, err
	}
	ans, err := render(201, "/api/v1/tasks/"+c.Existing, taskBody(&t))
	return answerOf(&ans, true), err
}

type batchItem struct {
	Index  int    `json:"index"`
	TaskID string `json:"task_id" format:"uuid"`
	Status string `json:"status"`
}

type batchBody struct {
	Items []batchItem `json:"items"`
}

func (a *api) taskBatch() {
	type batch struct {
		Keyed
		RawBody []byte
		Body    newTasks
	}
	add(a, op{method: http.MethodPost, path: "/api/v1/tasks:batch", id: "create-tasks", summary: "Create many tasks of one warehouse, all or none", tag: "tasks", status: 201, engine: true, answer: batchBody{}},
		func(ctx context.Context, who *auth.Identity, in *batch) (*created, error) {
			return a.once(ctx, who.Tenant, "POST /tasks:batch", &in.Keyed, in.RawBody, func() (fact.Answer, func(*fact.Idempotency) error, error) {
				var f faults
				m, raw := a.maker(who), payloads(in.RawBody, true)
				specs, body := make([]task.Spec, len(in.Body.Items)), batchBody{}
				for i := range in.Body.Items {
					var err error
					prefix := fmt.Sprintf("body.items[%d].", i)
					if in.Body.Items[i].WarehouseID != in.Body.Items[0].WarehouseID {
						f.add(prefix+"warehouse_id", "want the same warehouse for the whole batch")
						continue
					}
					if specs[i], err = m.spec(ctx, &in.Body.Items[i], raw[i], prefix, &f); err != nil {
						return fact.Answer{}, nil, err
					}
					body.Items = append(body.Items, batchItem{i, string(specs[i].ID), fleet.TaskCreated.String()})
				}
				if err := f.err(); err != nil {
					return fact.Answer{}, nil, err
				}
				if err := a.spend(ctx, who.Tenant, quota.Tasks, len(specs)); err != nil {
					return fact.Answer{}, nil, err
				}
				requestOf(ctx).detail("tasks", len(specs))
				ans, err := render(201, "", body)
				return ans, func(i *fact.Idempotency) error {
					return a.Engine.CreateTasks(ctx, specs[0].Shard, specs, by(who), traceOf(ctx), i)
				}, err
			})
		})
}

type eventBody struct {
	EventID    string  `json:"event_id" format:"uuid"`
	Seq        int64   `json:"seq"`
	EventType  string  `json:"event_type"`
	FromStatus *string `json:"from_status"`
	ToStatus   string  `json:"to_status"`
	OccurredAt string  `json:"occurred_at" format:"date-time"`
	Actor      *string `json:"actor" doc:"user id, or the part of the engine"`
	Payload    object  `json:"payload"`
}

func eventOf(e *fact.TaskEvent) eventBody {
	actor := string(e.By.User)
	if actor == "" {
		actor = e.By.Part
	}
	return eventBody{string(e.ID), e.Seq, e.Type, text(e.From), e.To, ts(e.At), text(actor), object(e.Payload)}
}

func (a *api) taskEvents() {
	type query struct {
		Paged
		ID string `path:"task_id" format:"uuid"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/tasks/{task_id}/events", id: "list-task-events", summary: "A task's history", tag: "tasks"},
		func(ctx context.Context, who *auth.Identity, in *query) (*listed[eventBody], error) {
			if _, err := a.task(ctx, who, in.ID); err != nil {
				return nil, err
			}
			l, err := a.Facts.ListTaskEvents(ctx, who.Tenant, fleet.TaskID(in.ID), in.page())
			return listOf(l, eventOf), err
		})
	a.taskTiming()
}
