package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// maxTasks bounds the open tasks of a shard that are compared at a time.
const maxTasks = 100_000

func (c *care) findShards(ctx context.Context, _ Job) error {
	list, err := c.rows.BusyShards(ctx, maxShard)
	if err != nil {
		return fmt.Errorf("look for shards to reconcile: %w", err)
	}
	c.found(kindFindShards, map[string]int{"shards": len(list)})
	var m misses
	for _, s := range list {
		if err := c.hand(ctx, kindReconcile, s, string(s.Warehouse), time.Time{}, shardBody{s.Warehouse}); err != nil {
			m.add(err)
			if m.stops(ctx, err) {
				break
			}
		}
	}
	return m.err()
}

// reconcile compares the rows of a shard with one another and, where it lives here, with its actors. What it finds is
// counted and logged; a task of which its actor knows nothing is let live, which loads it from its log. Everything else
// would be a fault of the program: nothing here writes over what somebody recorded.
func (c *care) reconcile(ctx context.Context, j Job) error {
	if c.engine == nil {
		return ErrElsewhere
	}
	b, err := body[shardBody](&j)
	if err != nil {
		return err
	}
	s := fleet.Shard{Tenant: j.Tenant, Warehouse: b.Warehouse}
	wrong, err := c.contradictions(ctx, s)
	if err != nil {
		return err
	}
	stray, err := c.strays(ctx, s)
	if err != nil {
		return err
	}
	apart, err := c.apart(ctx, s)
	if err != nil {
		return err
	}
	n := map[string]int{
		"version_gap": 0, "two_tasks": 0, "robot_absent": 0, "behind": 0, "ahead": 0, "unknown": 0, "ghost": 0, "robot_idle": 0, "robot_strays": 0,
	}
	for _, m := range slices.Concat(wrong, stray, apart) {
		n[m.Kind]++
		c.Log.LogAttrs(ctx, slog.LevelWarn, "rows and actors contradict each other", slog.String("event", "reconcile.mismatch"), slog.String("kind", m.Kind),
			slog.String("tenant_id", string(s.Tenant)), slog.String("warehouse_id", string(s.Warehouse)), slog.String("task_id", string(m.Task)),
			slog.String("robot_id", string(m.Robot)), slog.String("detail", m.Detail))
	}
	for what, n := range n {
		c.r.metrics.found.WithLabelValues(kindReconcile, what).Add(float64(n))
	}
	for _, m := range append(stray, apart...) {
		if m.Kind == "unknown" || m.Kind == "ghost" || m.Kind == "robot_idle" {
			if err := skipMissing(c.engine.WakeTask(ctx, s, m.Task)); err != nil {
				return err
			}
		}
	}
	return nil
}

// contradictions are those that stand in the rows at two looks: what is being recorded in between is none.
func (c *care) contradictions(ctx context.Context, s fleet.Shard) ([]fact.Mismatch, error) {
	first, err := c.rows.Contradictions(ctx, s, page)
	if err != nil || len(first) == 0 {
		return nil, wrapped(err, s)
	}
	if err := c.settle(ctx); err != nil {
		return nil, err
	}
	second, err := c.rows.Contradictions(ctx, s, page)
	if err != nil {
		return nil, wrapped(err, s)
	}
	still := map[fact.Mismatch]bool{}
	for _, m := range second {
		still[m] = true
	}
	var out []fact.Mismatch
	for _, m := range first {
		if still[m] {
			out = append(out, m)
		}
	}
	return out, nil
}

func wrapped(err error, s fleet.Shard) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("compare rows of shard %s: %w", s.Key(), err)
}

func (c *care) settle(ctx context.Context) error { return wait(ctx, c.Settle) }

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// apart are tasks under way whose robot is about something else (robot_idle), and robots that are about a task which is not
// theirs (robot_strays): those that are so at two looks, with time in between for both to tell each other.
func (c *care) apart(ctx context.Context, s fleet.Shard) ([]fact.Mismatch, error) {
	first, err := c.disagreements(ctx, s)
	if err != nil || len(first) == 0 {
		return nil, err
	}
	if err := wait(ctx, c.Retell); err != nil {
		return nil, err
	}
	second, err := c.disagreements(ctx, s)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(first, func(m fact.Mismatch) bool { return !slices.Contains(second, m) }), nil
}

func (c *care) disagreements(ctx context.Context, s fleet.Shard) (out []fact.Mismatch, err error) {
	about := c.engine.Robots(s)
	if len(about) == 0 {
		return nil, nil
	}
	open, err := c.rows.OpenTasks(ctx, s, maxTasks)
	if err != nil {
		return nil, wrapped(err, s)
	}
	of := make(map[fleet.RobotID]fleet.TaskID, len(open))
	for _, t := range open {
		if t.Robot == "" || t.Status == fleet.TaskCreated || t.Status == fleet.TaskCancelling {
			continue // nobody has it, or its robot has let go
		}
		of[t.Robot] = t.Task
		if now, lives := about[t.Robot]; lives && now != t.Task {
			out = append(out, fact.Mismatch{Kind: "robot_idle", Task: t.Task, Robot: t.Robot, Detail: "its robot is about " + quoted(now)})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(about)) {
		if t := about[id]; t != "" && of[id] != t && !cancelling(open, t, id) {
			out = append(out, fact.Mismatch{Kind: "robot_strays", Task: t, Robot: id, Detail: "by its rows it is about " + quoted(of[id])})
		}
	}
	return out, nil
}

// cancelling says that the robot is being asked to let go of the task.
func cancelling(open []fact.OpenTask, id fleet.TaskID, robot fleet.RobotID) bool {
	return slices.ContainsFunc(open, func(t fact.OpenTask) bool {
		return t.Task == id && t.Robot == robot && t.Status == fleet.TaskCancelling
	})
}

func quoted(t fleet.TaskID) string {
	if t == "" {
		return "no task"
	}
	return "task " + string(t)
}

// strays compares rows with actors. Rows are read first, then actors, then those rows again that do not agree: an actor
// may know less than the first rows only where it has missed something, and more than the second only where it has told
// what is not recorded.
func (c *care) strays(ctx context.Context, s fleet.Shard) ([]fact.Mismatch, error) {
	before, err := c.rows.OpenTasks(ctx, s, maxTasks)
	if err != nil {
		return nil, wrapped(err, s)
	}
	if err := c.settle(ctx); err != nil {
		return nil, err
	}
	live, ok := c.engine.Tasks(s)
	if !ok {
		return nil, nil
	}
	if err := c.settle(ctx); err != nil {
		return nil, err
	}
	rows := make(map[fleet.TaskID]fact.OpenTask, len(before))
	for _, t := range before {
		rows[t.Task] = t
	}
	var doubted []fleet.TaskID
	said := make(map[fleet.TaskID]fact.OpenTask, len(live))
	for _, t := range live {
		said[t.Task] = t
		if r, ok := rows[t.Task]; !ok || r != t {
			doubted = append(doubted, t.Task)
		}
	}
	for _, t := range before {
		if _, ok := said[t.Task]; !ok {
			doubted = append(doubted, t.Task)
		}
	}
	if len(doubted) == 0 {
		return nil, nil
	}
	slices.Sort(doubted)
	after, err := c.rows.TasksNow(ctx, s, doubted)
	if err != nil {
		return nil, wrapped(err, s)
	}
	now := make(map[fleet.TaskID]fact.OpenTask, len(after))
	for _, t := range after {
		now[t.Task] = t
	}
	var out []fact.Mismatch
	for _, id := range doubted {
		r, was := rows[id]
		a, known := said[id]
		n, is := now[id]
		if kind := judge(r, was, a, known, n, is); kind != "" {
			out = append(out, fact.Mismatch{Kind: kind, Task: id, Robot: n.Robot, Detail: fmt.Sprintf(
				"row %s v%d, actor %s v%d, row later %s v%d", r.Status, r.Version, a.Status, a.Version, n.Status, n.Version)})
		}
	}
	return c.haunting(ctx, s, out)
}

// haunting drops the ghosts that have gone by themselves: they were ending.
func (c *care) haunting(ctx context.Context, s fleet.Shard, found []fact.Mismatch) ([]fact.Mismatch, error) {
	ghost := func(m fact.Mismatch) bool { return m.Kind == "ghost" }
	if !slices.ContainsFunc(found, ghost) {
		return found, nil
	}
	if err := c.settle(ctx); err != nil {
		return nil, err
	}
	live, _ := c.engine.Tasks(s)
	there := make(map[fleet.TaskID]bool, len(live))
	for _, t := range live {
		there[t.Task] = true
	}
	return slices.DeleteFunc(found, func(m fact.Mismatch) bool { return ghost(m) && !there[m.Task] }), nil
}

// judge says in what way a task's actor contradicts its row, "" = in none: before, actor and after are what the row said,
// then the actor, then the row; was, known and is say whether there was one.
func judge(before fact.OpenTask, was bool, actor fact.OpenTask, known bool, after fact.OpenTask, is bool) string {
	switch {
	case known && !is:
		return "ghost" // of a task that is not recorded at all
	case known && actor.Version > after.Version:
		return "ahead"
	case known && was && actor.Version < before.Version:
		return "behind"
	case known && after.Status.Final() && !actor.Status.Final() && actor.Version < after.Version:
		return "ghost" // unless it is ending just now: asked again
	case known && actor.Version == after.Version && (actor.Status != after.Status || actor.Robot != after.Robot):
		return "behind"
	case !known && was && is && after.Version == before.Version && !after.Status.Final():
		return "unknown"
	}
	return ""
}
