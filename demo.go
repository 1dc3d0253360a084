package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"starling/actors"
	"starling/bench/robots"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/gateway/view"
)

//go:embed testdata/lorr/sortation_2000/sortation_large.map
var demoMap string

// counted passes views on and counts what the terminal view shows.
type counted struct {
	*view.Store
	c *counts
}

type counts struct {
	finished atomic.Int64
	mu       sync.Mutex
	seen     map[fleet.TaskID]bool
	waits    []time.Duration // from creation to assignment, the newest last
	commands []time.Duration
	posed    *posed // the problem that the demo runs, nil = its own floor
}

// ShowTask implements actors.Views.
func (v counted) ShowTask(s fleet.Shard, t *task.View) {
	v.Store.ShowTask(s, t)
	if x := v.c.posed; x != nil {
		if l := x.live.Load(); l != nil {
			l.ShowTask(t)
		}
	}
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	if !t.AssignedAt.IsZero() && !v.c.seen[t.Spec.ID] {
		v.c.seen[t.Spec.ID] = true
		v.c.waits = keep(v.c.waits, t.AssignedAt.Sub(t.Spec.CreatedAt))
	}
	if t.Status.Final() {
		if t.Status == fleet.TaskSucceeded {
			v.c.finished.Add(1)
		}
		delete(v.c.seen, t.Spec.ID)
	}
}

// keep appends to a list of bounded length.
func keep(d []time.Duration, x time.Duration) []time.Duration {
	const most = 1000
	if len(d) >= most {
		d = slices.Delete(d, 0, len(d)-most+1)
	}
	return append(d, x)
}

func p99(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	d = slices.Clone(d)
	slices.Sort(d)
	return d[min(len(d)-1, len(d)*99/100)]
}

// runDev runs `starling dev` until ctx is done or a part fails.
func runDev(ctx context.Context, o devOptions, out io.Writer) error {
	c := &counts{seen: map[fleet.TaskID]bool{}}
	var x *posed
	if o.Problem != "" {
		var err error
		if x, err = pose(o.Problem, o.Robots, o.Seed); err != nil {
			return err
		}
		o.Robots, _ = x.run.Team()
		c.posed = x
	}
	o.Views = func(s *view.Store) actors.Views { return counted{s, c} }
	fmt.Fprintln(out, "starting the servers and the engine …")
	d, err := startDev(ctx, o)
	defer d.stop()
	if err != nil {
		return err
	}
	code, floor := "demo", demoMap
	if x != nil {
		code, floor = x.code, string(x.run.Problem.Map)
	}
	w, err := d.warehouse(ctx, code, "lorr", floor)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "URL        %s   (API documents: %s/docs)\nrobot link %s\ntenant     %s (%s)\nwarehouse  %s\ntoken      %s\nsigned in  %s/#token=%s\n",
		d.url(), d.url(), d.linkAddr(), demoTenant, demoSlug, w.ID, d.token, d.url(), d.token)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	if x != nil {
		f, ids, err := d.problemRobots(ctx, w, x)
		if err != nil {
			return err
		}
		x.start(ctx, d, w, f, &all)
		all.Go(func() { d.demoCommands(ctx, ids, c) })
		return d.watch(ctx, w, f, c, out)
	}
	f, ids, err := d.demoRobots(ctx, w)
	if err != nil {
		return err
	}
	if f != nil {
		all.Go(func() { f.Run(ctx) })
		all.Go(func() { d.demoTasks(ctx, w) })
		all.Go(func() { d.demoCommands(ctx, ids, c) })
	}
	return d.watch(ctx, w, f, c, out)
}

// demoRobots registers the demo's robots. They stand where they were last seen, else on places chosen by the seed.
func (d *dev) demoRobots(ctx context.Context, w warehouse) (*robots.Fleet, []string, error) {
	if d.o.Robots == 0 {
		return nil, nil, nil
	}
	vs, err := d.client.vertices(ctx, w.MapID, w.Version)
	if err != nil {
		return nil, nil, err
	}
	places := make([]vertexItem, d.o.Robots)
	for i, v := range rand.New(rand.NewPCG(d.o.Seed, 1)).Perm(len(vs))[:d.o.Robots] {
		places[i] = vs[v]
	}
	rs, err := register(ctx, d.client, w.ID, "demo", places)
	if err != nil {
		return nil, nil, err
	}
	if err := d.lastPlaces(ctx, rs, vs); err != nil {
		return nil, nil, err
	}
	ids := make([]string, len(rs))
	for i := range rs {
		ids[i] = rs[i].ID
	}
	f, err := robots.New(robots.Options{
		LinkAddr: d.linkAddr(), Token: d.token, WarehouseID: w.ID, Robots: rs, Seed: d.o.Seed, Log: d.Log,
		Motion: robots.Motion{SpeedMPS: 1.5, AccelMPS2: 1, QuarterTurn: 700 * time.Millisecond},
	})
	return f, ids, err
}

// lastPlaces puts robots where the engine saw them last, as far as that is a free vertex.
func (d *dev) lastPlaces(ctx context.Context, rs []robots.Robot, vs []vertexItem) error {
	type spot struct{ x, y int }
	at, taken := make(map[spot]vertexItem, len(vs)), map[int]bool{}
	round := func(x, y float64) spot { return spot{int(math.Round(x * 2)), int(math.Round(y * 2))} }
	for _, v := range vs {
		at[round(v.X, v.Y)] = v
	}
	seen := map[string]vertexItem{}
	for cursor := ""; ; {
		var l struct {
			Items []struct {
				ID   string `json:"robot_id"`
				Pose *struct {
					X float64 `json:"x"`
					Y float64 `json:"y"`
				} `json:"pose"`
			} `json:"items"`
			Next *string `json:"next_cursor"`
		}
		if err := d.client.call(ctx, http.MethodGet, "/api/v1/robots?limit=500"+cursor, "", nil, &l); err != nil {
			return err
		}
		for _, r := range l.Items {
			if r.Pose == nil {
				continue
			}
			if v, ok := at[round(math.Floor(r.Pose.X)+0.5, math.Floor(r.Pose.Y)+0.5)]; ok {
				seen[r.ID] = v
			}
		}
		if l.Next == nil {
			break
		}
		cursor = "&cursor=" + *l.Next
	}
	for i := range rs {
		if v, ok := seen[rs[i].ID]; ok && !taken[v.Index] {
			rs[i].Vertex, rs[i].X, rs[i].Y = uint32(v.Index), v.X, v.Y
		}
		for taken[int(rs[i].Vertex)] {
			v := vs[(int(rs[i].Vertex)+1)%len(vs)]
			rs[i].Vertex, rs[i].X, rs[i].Y = uint32(v.Index), v.X, v.Y
		}
		taken[int(rs[i].Vertex)] = true
	}
	return nil
}

// demoTasks creates a steady stream of tasks.
func (d *dev) demoTasks(ctx context.Context, w warehouse) {
	rng := rand.New(rand.NewPCG(d.o.Seed, uint64(time.Now().UnixNano())))
	vs, err := d.client.vertices(ctx, w.MapID, w.Version)
	if err != nil || d.o.TasksMin <= 0 {
		return
	}
	tick := time.NewTicker(time.Minute / time.Duration(d.o.TasksMin))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		from := vs[rng.IntN(len(vs))]
		to := vs[(from.Index+rng.IntN(40)+3)%len(vs)] // mostly in the same row: an errand of a minute
		body := map[string]any{
			"task_type": "transport", "warehouse_id": w.ID, "priority": rng.IntN(3), "payload": map[string]any{"pickup": from.ID, "dropoff": to.ID},
		}
		if rng.IntN(4) == 0 { // some are in a hurry, and a few of them come late
			body["deadline"] = time.Now().Add(time.Duration(120+rng.IntN(480)) * time.Second).UTC().Format(time.RFC3339)
		}
		if err := d.client.call(ctx, http.MethodPost, "/api/v1/tasks", "", body, nil); err != nil && ctx.Err() == nil {
			d.Log.WarnContext(ctx, "the demo's task was not taken", slog.String(keyEvent, "demo.task"), slog.String("error", err.Error()))
		}
	}
}

// demoCommands pauses and resumes a robot now and then: that is where the view's command P99 comes from.
func (d *dev) demoCommands(ctx context.Context, ids []string, c *counts) {
	tick := time.NewTicker(3 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		id := ids[rand.IntN(len(ids))]
		for _, name := range []string{"pause", "resume"} {
			if took, err := timeCommand(ctx, d.client, id, name); err == nil {
				c.mu.Lock()
				c.commands = keep(c.commands, took)
				c.mu.Unlock()
			}
		}
	}
}

// watch is the calm view: one line a second, in place on a terminal.
func (d *dev) watch(ctx context.Context, w warehouse, f *robots.Fleet, c *counts, out io.Writer) error {
	file, _ := out.(*os.File)
	inPlace := file != nil && term.IsTerminal(int(file.Fd()))
	shard := fleet.Shard{Tenant: demoTenant, Warehouse: fleet.WarehouseID(w.ID)}
	began, ready := time.Now(), false
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			fmt.Fprintln(out, "\nstopping …")
			return nil
		case err := <-d.failed:
			return err
		case <-tick.C:
		}
		if !ready && (f == nil || f.Stats.Moves.Load() > 0) {
			ready = true
			if f != nil {
				fmt.Fprintf(out, "robots move: %d connected\n", f.Stats.Connected.Load())
			}
			if err := d.writeReady(w); err != nil {
				return err
			}
		}
		line := d.line(shard, c, time.Since(began))
		if inPlace {
			fmt.Fprintf(out, "\r\x1b[K%s", line)
		} else {
			fmt.Fprintln(out, line)
		}
	}
}

// line says how the warehouse does.
func (d *dev) line(shard fleet.Shard, c *counts, since time.Duration) string {
	online, longest, who := 0, time.Duration(0), ""
	d.views.Robots(shard, func(v *robot.View) bool {
		if v.Connection == fleet.Online {
			online++
		}
		if v.Waiting.Cause != fleet.CauseNone && v.Waiting.Tasked {
			if t := time.Since(v.Waiting.Since); t > longest && v.Spec != nil {
				longest, who = t, v.Spec.Code+" ("+v.Waiting.Cause.String()+")"
			}
		}
		return true
	})
	c.mu.Lock()
	decision, command := p99(c.waits), p99(c.commands)
	c.mu.Unlock()
	open := 0
	if v, _, ok := d.views.Warehouse(shard); ok {
		open = v.OpenTasks
	}
	perMin := float64(c.finished.Load()) / max(since.Minutes(), 1.0/60)
	wait := "nobody waits"
	if who != "" {
		wait = fmt.Sprintf("longest wait %.0f s: %s", longest.Seconds(), who)
	}
	if c.posed != nil {
		wait += c.posed.stand()
	}
	return fmt.Sprintf("%s  robots online %d  tasks done %d (%.0f/min), open %d  P99 decision %d ms, command %d ms  %s",
		time.Now().Format("15:04:05"), online, c.finished.Load(), perMin, open, decision.Milliseconds(), command.Milliseconds(), wait)
}

// writeReady tells whoever waits for it that the warehouse runs, atomically.
func (d *dev) writeReady(w warehouse) error {
	if d.o.ReadyFile == "" {
		return nil
	}
	metrics := d.url() + "/metrics"
	if d.metrics != nil {
		metrics = "http://" + d.metrics.Addr().String() + "/metrics"
	}
	b, err := json.MarshalIndent(map[string]any{
		"url": d.url(), "link_addr": d.linkAddr(), "metrics_url": metrics, "tenant_id": demoTenant, "token": d.token, "token_role": "admin",
		"token_expires_at": d.until.UTC().Format("2006-01-02T15:04:05.000Z"), "warehouse_id": w.ID, "map_id": w.MapID, "robots": d.o.Robots, "pid": os.Getpid(),
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("write the ready file: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(d.o.ReadyFile), ".ready-")
	if err != nil {
		return fmt.Errorf("write the ready file: %w", err)
	}
	_, werr := tmp.Write(b)
	if err := errors.Join(werr, tmp.Close(), os.Rename(tmp.Name(), d.o.ReadyFile)); err != nil {
		return fmt.Errorf("write the ready file: %w", err)
	}
	return nil
}
