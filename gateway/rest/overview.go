package rest

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/gateway/auth"
	"starling/gateway/view"
)

// After how long a wait counts as being stuck, a cancellation as hanging, and a task that merely waits for its turn as
// forgotten.
const (
	stuckAfter  = 15 * time.Second
	cancelAfter = 15 * time.Second
	idleAfter   = 5 * time.Minute
)

// maxAttention is how many items of each kind an overview lists, and overviewFor how long one is given to all who ask.
const (
	maxAttention = 100
	overviewFor  = time.Second
)

type fleetBody struct {
	Total      int            `json:"total"`
	Connection map[string]int `json:"connection" doc:"robots by connection"`
	State      map[string]int `json:"state" doc:"robots by state, of those that are heard"`
}

type openBody struct {
	Open       int `json:"open"`
	Late       int `json:"late" doc:"deadline passed"`
	Cancelling int `json:"cancelling"`
	Finished   int `json:"finished_last_minute"`
}

type quantilesBody struct {
	P50 float64  `json:"p50"`
	P99 float64  `json:"p99"`
	_   struct{} `nullable:"true"`
}

type attentionBody struct {
	Kind    string      `json:"kind" enum:"stuck,unavailable,late"`
	Object  objectBody  `json:"object"`
	Code    *string     `json:"code" doc:"what people call the object"`
	Cause   string      `json:"cause"`
	Since   *string     `json:"since"`
	RobotID *string     `json:"robot_id"`
	TaskID  *string     `json:"task_id"`
	Because *string     `json:"because" doc:"what is behind it, where that is something else: the last cause of its why"`
	Remedy  *remedyBody `json:"remedy"`
	rank    int
	at      time.Time
}

type attentionList struct {
	Total int             `json:"total"`
	Kinds map[string]int  `json:"kinds" doc:"how many of each kind there are"`
	Items []attentionBody `json:"items" doc:"the worst first, at most 100 of each kind"`
}

type overviewBody struct {
	At         string         `json:"at" format:"date-time"`
	Robots     fleetBody      `json:"robots"`
	Tasks      openBody       `json:"tasks"`
	DecisionMS *quantilesBody `json:"decision_ms" doc:"last minute: from when a task could be assigned to its assignment"`
	CommandMS  *quantilesBody `json:"command_ms" doc:"last minute: from accepting a command to the robot's acknowledgement"`
	Attention  attentionList  `json:"attention"`
}

// overviews are given to whoever asks within a second.
type overviews struct {
	mu   sync.Mutex
	made map[fleet.Shard]*made
}

type made struct {
	once sync.Once
	at   time.Time
	body overviewBody
}

// maxOverviews is how many warehouses' are kept.
const maxOverviews = 1000

func (o *overviews) get(now time.Time, s fleet.Shard) *made {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := o.made[s]
	if m == nil || now.Sub(m.at) >= overviewFor {
		if o.made == nil || len(o.made) >= maxOverviews {
			o.made = map[fleet.Shard]*made{}
		}
		m = &made{at: now}
		o.made[s] = m
	}
	return m
}

func (a *api) overview() {
	type query struct {
		WarehouseID string `query:"warehouse_id" required:"true" format:"uuid"`
	}
	type out struct{ Body overviewBody }
	add(a, op{method: http.MethodGet, path: "/api/v1/overview", id: "overview", summary: "How a warehouse does: what is stuck, since when, why, what to do", tag: "robots", engine: true},
		func(ctx context.Context, who *auth.Identity, in *query) (*out, error) {
			shard, err := a.shardOf(ctx, who, in.WarehouseID, "query.warehouse_id")
			if err != nil {
				return nil, err
			}
			m := a.overviews.get(a.Now(), shard)
			m.once.Do(func() { m.body = a.look(ctx, shard, m.at) })
			return &out{m.body}, nil
		})
}

// look makes an overview of the newest views.
func (a *api) look(ctx context.Context, shard fleet.Shard, now time.Time) overviewBody {
	b := overviewBody{At: ts(now), Robots: fleetBody{Connection: map[string]int{}, State: map[string]int{}}}
	items := []attentionBody{}
	a.Views.Robots(shard, func(v *robot.View) bool {
		b.Robots.Total++
		b.Robots.Connection[v.Connection.String()]++
		if v.Connection == fleet.Online || v.Connection == fleet.Stale {
			b.Robots.State[v.State.String()]++
		}
		if x, ok := robotAttention(v, now); ok {
			items = append(items, x)
		}
		return true
	})
	tasks := map[fleet.TaskID]*task.View{}
	evidence := a.evidence(ctx, shard)
	waits := taskWaits(evidence.Warehouse)
	a.Views.Tasks(shard, func(v *task.View) bool {
		b.Tasks.Open++
		if v.Status == fleet.TaskCancelling {
			b.Tasks.Cancelling++
		}
		x, ok := taskAttention(v, waits[v.Spec.ID], now)
		if ok && x.Cause == "deadline_passed" {
			b.Tasks.Late++
		}
		if ok {
			items = append(items, x)
			copied := *v
			tasks[v.Spec.ID] = &copied
		}
		return true
	})
	slices.SortFunc(items, func(x, y attentionBody) int {
		return cmp.Or(cmp.Compare(x.rank, y.rank), x.at.Compare(y.at), cmp.Compare(x.Object.ID, y.Object.ID))
	})
	b.Attention = attentionOf(items)
	for i := range b.Attention.Items {
		a.because(evidence, tasks, &b.Attention.Items[i])
	}
	t := a.Views.Tempo(shard)
	b.Tasks.Finished, b.DecisionMS, b.CommandMS = t.Finished, milliseconds(t.Decisions), milliseconds(t.Commands)
	return b
}

// attentionOf keeps the worst of each kind.
func attentionOf(sorted []attentionBody) attentionList {
	l := attentionList{Total: len(sorted), Kinds: map[string]int{"stuck": 0, "unavailable": 0, "late": 0}, Items: []attentionBody{}}
	for i := range sorted {
		kind := sorted[i].Kind
		if l.Kinds[kind]++; l.Kinds[kind] <= maxAttention {
			l.Items = append(l.Items, sorted[i])
		}
	}
	return l
}

func milliseconds(q view.Quantiles) *quantilesBody {
	if q.Of == 0 {
		return nil
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return &quantilesBody{P50: ms(q.P50), P99: ms(q.P99)}
}

// robotAttention says whether somebody should look at a robot. The worst first: who has a task and cannot go on by
// itself, who waits, who is merely not there.
func robotAttention(v *robot.View, now time.Time) (attentionBody, bool) {
	x := attentionBody{Kind: "unavailable", Object: objectBody{"robot", string(v.ID)}, RobotID: text(v.ID), TaskID: text(v.Task), at: v.Since, rank: 3}
	if v.Spec != nil {
		x.Code = text(v.Spec.Code)
	}
	switch {
	case v.Connection == fleet.Offline || v.Connection == fleet.Stale:
		x.Cause, x.at = "silent", v.ReceivedAt
	case v.Connection != fleet.Online:
		return x, false // it has never been there
	case v.State == fleet.Error:
		x.Cause = "robot_error"
	case v.State == fleet.Manual:
		x.Cause = "manual"
	case v.State == fleet.Paused:
		x.Cause = "paused"
	case v.Vertex == fleet.NoVertex && v.Spec != nil && v.Spec.Control == fleet.ControlEngine:
		x.Cause = fleet.CauseUnlocalised.String()
	case v.Waiting.Cause != fleet.CauseNone && v.Waiting.Tasked && now.Sub(v.Waiting.Since) >= stuckAfter:
		x.Kind, x.Cause, x.at, x.rank = "stuck", v.Waiting.Cause.String(), v.Waiting.Since, 1
	default:
		return x, false
	}
	if x.Kind == "unavailable" && v.Task != "" {
		x.rank = 0
	}
	x.Since = tsp(x.at)
	return x, true
}

// taskWaits are the tasks that could not be awarded, by id.
func taskWaits(w *dispatch.View) map[fleet.TaskID]dispatch.TaskWait {
	m := map[fleet.TaskID]dispatch.TaskWait{}
	if w != nil {
		for _, t := range w.TaskWaits {
			m[t.Task] = t
		}
	}
	return m
}

// forgotten says whether a task without a robot waits for something that its turn will not bring.
func forgotten(w dispatch.TaskWait, now time.Time) bool {
	bound := stuckAfter
	if w.Cause == fleet.CauseNoRobot { // busy robots become free
		bound = idleAfter
	}
	return w.Cause != fleet.CauseNone && w.Cause != fleet.CauseNotYet && now.Sub(w.Since) >= bound
}

// taskAttention says whether somebody should look at a task. wait = why it has no robot, zero where it has one.
func taskAttention(v *task.View, wait dispatch.TaskWait, now time.Time) (attentionBody, bool) {
	x := attentionBody{Kind: "late", Object: objectBody{"task", string(v.Spec.ID)}, RobotID: text(v.Robot), TaskID: text(v.Spec.ID), rank: 2}
	switch {
	case !v.Spec.Deadline.IsZero() && now.After(v.Spec.Deadline):
		x.Cause, x.at = "deadline_passed", v.Spec.Deadline
	case v.Status == fleet.TaskCancelling && now.Sub(v.UpdatedAt) >= cancelAfter:
		x.Kind, x.Cause, x.at, x.rank = "stuck", "cancelling", v.UpdatedAt, 1
	case v.Status == fleet.TaskCreated && forgotten(wait, now):
		x.Kind, x.Cause, x.at, x.rank = "stuck", wait.Cause.String(), wait.Since, 1
	default:
		return x, false
	}
	x.Since = tsp(x.at)
	return x, true
}

// because adds what is behind it and the cheapest thing to do, from the chain of causes.
func (a *api) because(f *dispatch.Facts, tasks map[fleet.TaskID]*task.View, x *attentionBody) {
	var chain []dispatch.Link
	if t := tasks[fleet.TaskID(x.Object.ID)]; x.Object.Type == "task" && t != nil {
		chain = f.WhyTask(t)
	} else if x.Object.Type == "robot" {
		chain = f.WhyRobot(fleet.RobotID(x.Object.ID))
	}
	if len(chain) > 0 && chain[len(chain)-1].Cause != x.Cause {
		x.Because = &chain[len(chain)-1].Cause
	}
	for i := len(chain) - 1; i >= 0; i-- {
		if r := chain[i].Remedy; r != nil {
			x.Remedy = a.remedyOf(r, nil)
			return
		}
	}
}

// TaskBody is a task as this door renders it, for the live channel.
func TaskBody(v *task.View) any { return taskBody(v) }
