package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"starling/actors"
	"starling/bench/lorr"
	"starling/bench/record"
	"starling/bench/robots"
	"starling/deploy/stack"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/gateway/view"
)

// watched passes views on and tells a bench of tasks.
type watched struct {
	*view.Store
	live *atomic.Pointer[lorr.Live]
}

// ShowTask implements actors.Views.
func (w watched) ShowTask(s fleet.Shard, v *task.View) {
	w.Store.ShowTask(s, v)
	if l := w.live.Load(); l != nil {
		l.ShowTask(v)
	}
}

// benchReal runs a problem in real time: a whole process with its own database, a client over REST, robots over the link.
func benchReal(ctx context.Context, run lorr.Run) (record.Summary, error) {
	n, err := run.Team()
	if err != nil {
		return record.Summary{}, err
	}
	dir, err := os.MkdirTemp("", "starling-bench-")
	if err != nil {
		return record.Summary{}, fmt.Errorf("make a folder for the bench's database: %w", err)
	}
	defer func() {
		_ = stack.Remove(context.WithoutCancel(ctx), dir)
		_ = os.RemoveAll(dir)
	}()
	var live atomic.Pointer[lorr.Live]
	o := devOptions{Data: dir, Quiet: true, Views: func(s *view.Store) actors.Views { return watched{s, &live} }}
	d, err := startDev(ctx, o)
	defer d.stop()
	if err != nil {
		return record.Summary{}, err
	}
	w, err := d.warehouse(ctx, "bench", "lorr", string(run.Problem.Map))
	if err != nil {
		return record.Summary{}, err
	}
	places, cells, err := startPlaces(ctx, d.client, w, run.Problem.Start[:n])
	if err != nil {
		return record.Summary{}, err
	}
	rs, err := register(ctx, d.client, w.ID, "bench", places)
	if err != nil {
		return record.Summary{}, err
	}
	ids := make([]string, n)
	for i := range rs {
		ids[i] = rs[i].ID
	}
	l, err := driveBench(ctx, d, w, run, rs, ids, cells, &live)
	if err != nil {
		return record.Summary{}, err
	}
	return l.Close()
}

// startPlaces finds the vertices of start cells, and the cell of every vertex.
func startPlaces(ctx context.Context, c *client, w warehouse, start []int) ([]vertexItem, []int, error) {
	vs, err := c.vertices(ctx, w.MapID, w.Version)
	if err != nil {
		return nil, nil, err
	}
	byCell, cells := make(map[int]vertexItem, len(vs)), make([]int, len(vs))
	for _, v := range vs {
		cell, err := strconv.Atoi(v.ID)
		if err != nil {
			return nil, nil, fmt.Errorf("vertex %s is no cell", v.ID)
		}
		byCell[cell], cells[v.Index] = v, cell
	}
	places := make([]vertexItem, len(start))
	for i, cell := range start {
		v, ok := byCell[cell]
		if !ok {
			return nil, nil, fmt.Errorf("start cell %d is blocked", cell)
		}
		places[i] = v
	}
	return places, cells, nil
}

// driveBench runs robots and client for the steps of the run.
func driveBench(ctx context.Context, d *dev, w warehouse, run lorr.Run, rs []robots.Robot, ids []string, cells []int, live *atomic.Pointer[lorr.Live]) (*lorr.Live, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fo := robots.Options{
		LinkAddr: d.linkAddr(), Token: d.token, WarehouseID: w.ID, Robots: rs, Seed: run.Seed, Log: slog.New(slog.DiscardHandler),
		OnMove: func(m robots.Move) {
			if l := live.Load(); l != nil {
				l.Moved(m)
			}
		},
	}
	fo.Motion, fo.Delays = run.Motion, run.Delays
	f, err := robots.New(fo)
	if err != nil {
		return nil, err
	}
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() { f.Run(ctx) })
	shard := fleet.Shard{Tenant: demoTenant, Warehouse: fleet.WarehouseID(w.ID)}
	for online := 0; online < len(rs); { // a robot that is not online yet is not free
		if err := lorr.Wait(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
		online = 0
		d.views.Robots(shard, func(v *robot.View) bool {
			if v.Connection == fleet.Online {
				online++
			}
			return true
		})
	}
	l := lorr.NewLive(run, ids, cells)
	live.Store(l)
	all.Go(func() { commandLoop(ctx, d.client, ids, run.Seed, l) })
	for step := range run.Steps {
		until := l.Started().Add(time.Duration(step+1) * time.Second)
		for time.Now().Before(until) {
			if err := createMissing(ctx, d.client, w.ID, l); err != nil {
				return nil, err
			}
			if err := lorr.Wait(ctx, 100*time.Millisecond); err != nil {
				return nil, err
			}
		}
		if run.Progress != nil {
			run.Progress(step+1, l.Finished())
		}
	}
	live.Store(nil)
	return l, nil
}

// createMissing creates tasks until as many are open as the problem says, a batch of them at once.
func createMissing(ctx context.Context, c *client, warehouse string, l *lorr.Live) error {
	missing := min(l.Missing(), 500)
	if missing == 0 {
		return nil
	}
	var items []map[string]any
	var numbers []int
	var wanted [][]int
	for range missing {
		number, cells, ok := l.NextTask()
		if !ok {
			break
		}
		way := make([]string, len(cells))
		for i, cell := range cells {
			way[i] = lorr.Place(cell)
		}
		items = append(items, map[string]any{"task_type": "patrol", "warehouse_id": warehouse, "payload": map[string]any{"waypoints": way}})
		numbers, wanted = append(numbers, number), append(wanted, cells)
	}
	if len(items) == 0 {
		return nil
	}
	var out struct {
		Items []struct {
			TaskID string `json:"task_id"`
		} `json:"items"`
	}
	at := time.Now()
	if err := c.again(ctx, http.MethodPost, "/api/v1/tasks:batch", "", map[string]any{"items": items}, &out); err != nil {
		return err
	}
	for i, t := range out.Items {
		l.Created(t.TaskID, numbers[i], wanted[i], at)
	}
	return nil
}

// commandLoop sends one pause and one resume a second to random robots, and measures from the request to the
// acknowledgement.
func commandLoop(ctx context.Context, c *client, ids []string, seed uint64, l *lorr.Live) {
	rng := rand.New(rand.NewPCG(seed, 7))
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		id := ids[rng.IntN(len(ids))]
		for _, name := range []string{"pause", "resume"} {
			if took, err := timeCommand(ctx, c, id, name); err == nil {
				l.Command(took)
			} else if ctx.Err() == nil {
				l.Command(time.Minute) // a command that fails is as bad as one that takes a minute
			}
		}
	}
}

// timeCommand commands a robot and says how long it took until the robot acknowledged.
func timeCommand(ctx context.Context, c *client, id, name string) (time.Duration, error) {
	start := time.Now()
	var out struct {
		ID string `json:"command_id"`
	}
	if err := c.call(ctx, http.MethodPost, "/api/v1/robots/"+id+"/commands", "", map[string]any{"command": name}, &out); err != nil {
		return 0, err
	}
	for deadline := start.Add(30 * time.Second); time.Now().Before(deadline); {
		var got struct {
			Stages []struct {
				Stage string    `json:"stage"`
				At    time.Time `json:"at"`
			} `json:"stages"`
		}
		if err := c.call(ctx, http.MethodGet, "/api/v1/robots/"+id+"/commands/"+out.ID, "", nil, &got); err != nil {
			return 0, err
		}
		for _, s := range got.Stages {
			if s.Stage == "acknowledged" {
				return max(0, s.At.Sub(start)), nil
			}
		}
		if err := lorr.Wait(ctx, 20*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("command %s to robot %s was not acknowledged", name, id)
}
