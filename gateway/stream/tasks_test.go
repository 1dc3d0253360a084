package stream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/task"
	"starling/gateway/auth"
	"starling/gateway/stream"
)

// create makes new tasks, from the first number to the last.
func (g *rig) create(from, to int) {
	for n := from; n <= to; n++ {
		v := task.View{}
		v.Apply(time.Now(), task.Created{Spec: specOf(n)})
		g.views.TaskChanged(shardA(), task.Created{}, &v)
	}
}

func TestABurstIsNotTheClientsFault(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"tasks"}`)
	c.want("snapshot", 1)
	const burst = 12_000 // far more than a client may be behind that takes nothing
	g.create(1, burst)
	for next := 1; next <= burst; {
		for _, e := range c.want("delta", 1).Events {
			if id, _ := told(e.Data); id != string(taskID(next)) {
				t.Fatalf("task %s, want %d", id, next)
			}
			next++
		}
	}
}

// TestALogThatIsCutUnderAClientEndsItsConnection lets a client that came back far behind take nothing, until what it
// needs next is not there any more: it is closed, and not told to start anew as if it had asked.
func TestALogThatIsCutUnderAClientEndsItsConnection(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *stream.Options) { o.WriteWait, o.LastWord, o.PingEvery = time.Minute, time.Minute, time.Minute })
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"tasks"}`)
	s := c.want("subscribed", 1)
	c.close()
	g.create(1, 15_000)
	slow := g.narrow()
	slow.send(`{"op":"subscribe","id":1,"channel":"tasks","since":{"epoch":%q,"seq":%d}}`, s.Epoch, s.Seq)
	if again := slow.want("subscribed", 1); !again.Recovered {
		t.Fatalf("%+v", again)
	}
	time.Sleep(300 * time.Millisecond) // meanwhile the pipe fills
	g.create(15_001, 26_000)
	time.Sleep(300 * time.Millisecond)
	next := 1
	for {
		m, err := slow.next()
		if err != nil {
			t.Fatal(err)
		}
		if m.Op == "closing" {
			if m.Reason != "slow_consumer" || next < 2 || next > 15_000 {
				t.Errorf("%s before task %d", m.Reason, next)
			}
			break
		}
		if m.Op != "delta" {
			t.Fatalf("%+v before task %d", m, next)
		}
		for _, e := range m.Events {
			if id, _ := told(e.Data); id != string(taskID(next)) {
				t.Fatalf("task %s, want %d", id, next)
			}
			next++
		}
	}
	if _, code := slow.ended(); code != 4008 {
		t.Errorf("closed with %d", code)
	}
}

func TestAStreamWhoseTasksCannotBeReadEnds(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *stream.Options) {
		o.FindTasks = func(context.Context, fleet.TenantID, []fleet.TaskID) ([]task.View, error) {
			return nil, errors.New("down")
		}
	})
	l := g.listen(fmt.Sprintf("/api/v1/stream?channel=tasks&task_ids=%s", taskID(1)), "", g.token(tenantA, auth.Viewer, time.Hour))
	defer l.close()
	if m, err := l.next(); err != nil || m.Op != "error" || m.Error.Code != "UNAVAILABLE" {
		t.Fatalf("%+v %v", m, err)
	}
	if m, err := l.next(); err != nil || m.Op != "closing" || m.Reason != "unavailable" {
		t.Fatalf("%+v %v", m, err)
	}
	began := time.Now()
	if m, err := l.next(); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("the stream goes on: %+v", m)
	}
	c := g.viewer() // has other subscriptions perhaps, and may subscribe again
	c.send(`{"op":"subscribe","id":1,"channel":"tasks","filter":{"task_ids":[%q]}}`, taskID(1))
	if m, err := c.next(); err != nil || m.Op != "error" || m.Error.Code != "UNAVAILABLE" {
		t.Fatalf("%+v %v", m, err)
	}
	c.send(`{"op":"ping","t":1}`)
	c.want("pong", 0)
}

// TestSnapshotsOfAllTasksShareTheirWork counts how often tasks are rendered, for clients that read and for those that do not.
func TestSnapshotsOfAllTasksShareTheirWork(t *testing.T) {
	t.Parallel()
	const open, readers = 3_000, 6
	var rendered atomic.Int64
	g := newRig(t, func(o *stream.Options) {
		body := o.Task
		o.Task = func(v *task.View) any { rendered.Add(1); return body(v) }
	})
	g.create(1, open)
	for range 3 {
		c := g.narrow()
		for id := range 16 {
			c.send(`{"op":"subscribe","id":%d,"channel":"tasks"}`, id+1)
		}
	}
	var all sync.WaitGroup
	for range readers {
		c := g.viewer()
		c.send(`{"op":"subscribe","id":1,"channel":"tasks"}`)
		all.Go(func() { // ends with the snapshot
			seen := map[string]bool{}
			for {
				m, err := c.next()
				if err != nil {
					t.Error(err)
					return
				}
				for _, raw := range m.Items {
					id, _ := told(raw)
					seen[id] = true
				}
				if m.Op == "snapshot" && !m.More {
					break
				}
			}
			if len(seen) != open {
				t.Errorf("%d tasks", len(seen))
			}
		})
	}
	all.Wait()
	if n := rendered.Load(); n > 2*open {
		t.Errorf("%d open tasks were rendered %d times", open, n)
	}
	if n := g.srv.Queued(); n > 4*(256+300)<<10 {
		t.Errorf("%d bytes wait for three clients", n)
	}
}

// TestATenantThatAsksForManyTasksDelaysOnlyItself lets the store answer one tenant very slowly.
func TestATenantThatAsksForManyTasksDelaysOnlyItself(t *testing.T) {
	t.Parallel()
	var at, most, largest atomic.Int64
	g := newRig(t, func(o *stream.Options) {
		o.FindTasks = func(ctx context.Context, tenant fleet.TenantID, ids []fleet.TaskID) ([]task.View, error) {
			if tenant == tenantA {
				most.Store(max(most.Load(), at.Add(1)))
				largest.Store(max(largest.Load(), int64(len(ids))))
				defer at.Add(-1)
				<-ctx.Done()
				return nil, ctx.Err()
			}
			spec := task.Spec{ID: ids[0], Shard: fleet.Shard{Tenant: tenantB, Warehouse: floor1}, Source: "api"}
			return []task.View{{Spec: spec, Version: 1}}, nil
		}
	})
	ids := make([]string, 300)
	for n := range ids {
		ids[n] = string(taskID(n + 1))
	}
	list, _ := json.Marshal(ids)
	for range 4 {
		c := g.viewer()
		for id := range 16 {
			c.send(`{"op":"subscribe","id":%d,"channel":"tasks","filter":{"task_ids":%s}}`, id+1, list)
		}
	}
	for until := time.Now().Add(5 * time.Second); at.Load() < 2 && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond)
	}
	b := g.dial("starling.v1.json", g.token(tenantB, auth.Viewer, time.Hour))
	began := time.Now()
	b.send(`{"op":"subscribe","id":1,"channel":"tasks","filter":{"task_ids":[%q]}}`, taskID(1))
	if m := b.want("snapshot", 1); len(m.Items) != 1 || time.Since(began) > 2*time.Second {
		t.Errorf("%+v after %v", m, time.Since(began))
	}
	if most.Load() != 2 || largest.Load() > 16 {
		t.Errorf("%d questions of one tenant at a time, for %d tasks", most.Load(), largest.Load())
	}
	began = time.Now()
	if g.stop(); time.Since(began) > 2*time.Second { // and again by the clean-up
		t.Errorf("a stop waits %v for the store", time.Since(began))
	}
}

// TestSomeTasksAreToldStepByStepOverDisconnects follows tasks by their ids, more than the store is asked for at once, while
// they live and end: from any snapshot on each step comes once and in order.
func TestSomeTasksAreToldStepByStepOverDisconnects(t *testing.T) {
	t.Parallel()
	const events, tasks = 6_000, 60
	g := newRig(t, func(o *stream.Options) {
		find := o.FindTasks
		o.FindTasks = func(ctx context.Context, tenant fleet.TenantID, ids []fleet.TaskID) ([]task.View, error) {
			time.Sleep(10 * time.Millisecond) // meanwhile some of them are created, and go on
			return find(ctx, tenant, ids)
		}
	})
	var done atomic.Bool
	var all sync.WaitGroup
	var snapshots, steps atomic.Int64
	knows := make([]map[string]int64, 3)
	for i := range knows {
		ids := make([]string, 40)
		for n := range ids {
			ids[n] = string(taskID(i*10 + n + 1))
		}
		all.Go(func() { // ends when all has happened and is told
			for rng := rand.New(rand.NewPCG(uint64(i), 3)); ; {
				over := done.Load()
				c := g.viewer()
				c.timeout = time.Second
				c.send(`{"op":"subscribe","id":1,"channel":"tasks","filter":{"task_ids":["%s"]}}`, strings.Join(ids, `","`))
				end := time.Now().Add(time.Duration(rng.IntN(300)) * time.Millisecond)
				knows[i] = g.steps(c, &snapshots, &steps, func() bool { return over || time.Now().Before(end) })
				c.close()
				if over || t.Failed() {
					return
				}
			}
		})
	}
	truth, rng := map[string]int64{}, rand.New(rand.NewPCG(8, 9))
	views := make([]task.View, tasks)
	for n := range events {
		i := rng.IntN(min(tasks, 5+n*tasks/(events/2))) // more and more
		v := &views[i]
		var e task.Event = task.Started{}
		switch {
		case v.Status.Final():
			continue
		case v.Version == 0:
			e = task.Created{Spec: specOf(i + 1)}
		case v.Version > 70 && rng.IntN(20) == 0:
			e = task.Succeeded{}
		case v.Version%2 == 0:
			e = task.Unassigned{}
		}
		v.Apply(time.Now(), e)
		truth[string(v.Spec.ID)] = v.Version
		g.mu.Lock()
		g.stored[v.Spec.ID] = *v // it is recorded before anybody is told
		g.mu.Unlock()
		c := *v
		g.views.TaskChanged(shardA(), e, &c)
		if n%20 == 19 {
			time.Sleep(4 * time.Millisecond)
		}
	}
	done.Store(true)
	all.Wait()
	for i, have := range knows {
		for n := range 40 {
			if id := string(taskID(i*10 + n + 1)); have[id] != truth[id] {
				t.Errorf("client %d knows %d steps of %s, want %d", i, have[id], id, truth[id])
			}
		}
	}
	if t.Logf("%d snapshots, %d steps", snapshots.Load(), steps.Load()); snapshots.Load() < 10 || steps.Load() < events/4 {
		t.Errorf("%d snapshots, %d steps: the test has not tried both", snapshots.Load(), steps.Load())
	}
}

// steps follows a subscription until more says no or nothing comes, and returns the version of each task.
func (g *rig) steps(c *client, snapshots, steps *atomic.Int64, more func() bool) map[string]int64 {
	type version struct {
		ID      string `json:"task_id"`
		Version int64  `json:"version"`
	}
	have, seq := map[string]int64{}, uint64(0)
	for more() {
		m, err := c.next()
		if err != nil {
			break // nothing happens any more
		}
		if m.Op == "error" || m.Op == "closing" || m.Op == "delta" && m.Seq != seq+1 {
			g.Errorf("%+v after %d", m, seq)
			break
		}
		seq = m.Seq
		if m.Op == "snapshot" && !m.More {
			snapshots.Add(1)
		}
		for _, raw := range m.Items {
			var v version
			if err := json.Unmarshal(raw, &v); err != nil || have[v.ID] != 0 {
				g.Errorf("%s twice in a snapshot (%v)", v.ID, err)
			}
			have[v.ID] = v.Version
		}
		for _, e := range m.Events {
			var v version
			if err := json.Unmarshal(e.Data, &v); err != nil || v.Version != have[v.ID]+1 {
				g.Errorf("step %d of %s after %d (%v)", v.Version, v.ID, have[v.ID], err)
			}
			have[v.ID] = v.Version
			steps.Add(1)
		}
	}
	return have
}
