package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/persistence/redis"
)

// snapshots saves the newest state of all robots again and again, as the snapshot writer does.
func (h *house) snapshots(ctx context.Context, to io.Writer, s settings) error {
	const batch = 500
	n, seq := 0, uint64(0)
	before, began := h.usage(), time.Now()
	for time.Since(began) < time.Duration(s.seconds)*time.Second {
		seq++
		for from := 0; from < len(h.robots); from += batch {
			some := h.robots[from:min(from+batch, len(h.robots))]
			rows := make([]fact.RobotSnapshot, len(some))
			for i := range some {
				rows[i] = fact.RobotSnapshot{Robot: some[i].ID, Last: robot.LastKnown{
					BootID: "b", Seq: seq, ReportedAt: time.Now().UTC(), Pose: fleet.Pose{X: float64(seq), Y: 2, Theta: 1}, Battery: 0.5, State: fleet.Moving,
				}}
			}
			if err := h.store.SaveSnapshots(ctx, h.shard, rows); err != nil {
				return err
			}
			n += len(rows)
		}
	}
	h.row(to, fmt.Sprintf("snapshots saved, %d a statement", batch), n, time.Since(began), before, h.usage(), fmt.Sprintf("%d robots", len(h.robots)))
	return nil
}

// shown is a process that shows robots and tasks.
type shown struct {
	h     *house
	byID  map[fleet.RobotID]*robot.Spec
	tasks map[fleet.TaskID]task.View
	seq   atomic.Uint64
	now   time.Time
}

// Robot implements redis.Newest.
func (v *shown) Robot(_ fleet.Shard, id fleet.RobotID) (robot.View, uint64, bool) {
	s := v.byID[id]
	if s == nil {
		return robot.View{}, 0, false
	}
	n := v.seq.Load()
	return robot.View{
		ID: id, Spec: s, Version: 1, Connection: fleet.Online, State: fleet.Moving, Pose: fleet.Pose{X: float64(n) / 8, Y: 17.25, Theta: 1.5}, Located: true,
		Vertex: 17, Goal: 99, Velocity: 1.2, Battery: 0.83, Seq: n, BootID: "1", ReportedAt: v.now, ReceivedAt: v.now, Since: v.now,
		Task: "0b0e1b0c-0000-4000-8000-000000000002", Linked: true, MapID: "0b0e1b0c-0000-4000-8000-000000000003", MapVersion: 1,
	}, n, true
}

// Task implements redis.Newest.
func (v *shown) Task(_ fleet.Shard, id fleet.TaskID) (task.View, bool) {
	t, ok := v.tasks[id]
	return t, ok
}

// Robots implements redis.Newest.
func (v *shown) Robots(s fleet.Shard, f func(*robot.View) bool) {
	for id := range v.byID {
		r, _, _ := v.Robot(s, id)
		f(&r)
	}
}

// Tasks implements redis.Newest.
func (v *shown) Tasks(_ fleet.Shard, f func(*task.View) bool) {
	for _, t := range v.tasks {
		f(&t)
	}
}

// listed is how many open tasks there are for the lists of them.
const listed = 200

func (h *house) mirror(v *shown, perSecond int) (*redis.Mirror, error) {
	return redis.OpenMirror(redis.MirrorOptions{Options: redis.Options{URL: h.redis.URL(), Timeout: 5 * time.Second}, Newest: v, PerSecond: perSecond, Rows: v})
}

// StoredRobots implements redis.Rows.
func (v *shown) StoredRobots(context.Context, fleet.Shard, func(*robot.View) error) error { return nil }

// StoredTasks implements redis.Rows.
func (v *shown) StoredTasks(context.Context, fleet.Shard, func(*task.View) error) error { return nil }

func (h *house) show() *shown {
	v := &shown{h: h, byID: map[fleet.RobotID]*robot.Spec{}, tasks: map[fleet.TaskID]task.View{}, now: time.Now()}
	for i := range h.robots {
		v.byID[h.robots[i].ID] = &h.robots[i]
	}
	for i := range listed {
		id := fleet.TaskID(fmt.Sprintf("0b0e1b0c-0000-4000-8000-%012d", i))
		v.tasks[id] = task.View{
			Spec: task.Spec{
				ID: id, Shard: h.shard, Type: fleet.Transport, Payload: []byte(`{"pickup":"dock-1","dropoff":"shelf-7"}`), Errands: []fleet.Vertex{1, 7},
				Places: []string{"dock-1", "shelf-7"}, Source: "api", CreatedAt: v.now,
			},
			Status: fleet.TaskExecuting, Version: 3, Robot: h.robots[i%len(h.robots)].ID,
		}
	}
	return v
}

// viewWrites marks all robots again and again; the mirror writes what it can.
func (h *house) viewWrites(ctx context.Context, to io.Writer, s settings) error {
	v := h.show()
	m, err := h.mirror(v, 1_000_000)
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	m.Own(h.shard, 1)
	before, began := h.usage(), time.Now()
	marked := 0
	for time.Since(began) < time.Duration(s.seconds)*time.Second && ctx.Err() == nil {
		v.seq.Add(1)
		for id := range v.byID {
			m.RobotChanged(h.shard, id)
		}
		marked += len(v.byID)
		for id := range v.tasks {
			m.TaskChanged(h.shard, id, 3)
		}
		time.Sleep(20 * time.Millisecond)
	}
	n := int(m.Written())
	h.row(to, "views of robots written", n, time.Since(began), before, h.usage(), fmt.Sprintf("%d marks became %d entries", marked, n))
	return ctx.Err()
}

// readers runs f in several goroutines for the time of a measurement, and counts what it read.
func (h *house) readers(ctx context.Context, to io.Writer, s settings, what string, f func(*rand.Rand) (int, error)) error {
	const goroutines = 8
	var calls, entries, failed atomic.Int64
	before, began := h.usage(), time.Now()
	var all sync.WaitGroup
	for i := range goroutines {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			for time.Since(began) < time.Duration(s.seconds)*time.Second && ctx.Err() == nil {
				n, err := f(rng)
				if err != nil { // it did not keep to its bound: the caller would read rows
					failed.Add(1)
					time.Sleep(10 * time.Millisecond)
					continue
				}
				calls.Add(1)
				entries.Add(int64(n))
			}
		})
	}
	all.Wait()
	h.row(to, what, int(calls.Load()), time.Since(began), before, h.usage(), fmt.Sprintf("%.0f views/s, %d at a time, %d not within their bound", float64(entries.Load())/time.Since(began).Seconds(), goroutines, failed.Load()))
	return ctx.Err()
}

// viewReads reads pages of robots, as GET /robots does.
func (h *house) viewReads(ctx context.Context, to io.Writer, s settings) error {
	const page = 50
	v := h.show()
	m, err := h.mirror(v, 1_000_000)
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	return h.readers(ctx, to, s, fmt.Sprintf("pages of %d robots read", page), func(rng *rand.Rand) (int, error) {
		ids := make([]fleet.RobotID, page)
		from := rng.IntN(max(1, len(h.robots)-page))
		for i := range ids {
			ids[i] = h.robots[(from+i)%len(h.robots)].ID
		}
		got, err := m.Robots(ctx, h.shard, ids)
		return len(got), err
	})
}

// viewLists lists open tasks, as GET /tasks?status=EXECUTING does.
func (h *house) viewLists(ctx context.Context, to io.Writer, s settings) error {
	v := h.show()
	m, err := h.mirror(v, 1_000_000)
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	m.Own(h.shard, 2)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		all, _, err := m.OpenTasks(ctx, h.shard)
		if err == nil && len(all) == listed {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d open tasks are listed: %w", len(all), err)
		}
	}
	return h.readers(ctx, to, s, fmt.Sprintf("lists of %d open tasks read", listed), func(*rand.Rand) (int, error) {
		all, _, err := m.OpenTasks(ctx, h.shard)
		return len(all), err
	})
}
