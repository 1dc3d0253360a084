package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"starling/bench/lorr"
	"starling/bench/robots"
	"starling/engine/congestion"
)

// posed is a problem of the League of Robot Runners that the demo runs instead of its own floor and tasks.
type posed struct {
	run  lorr.Run
	code string // of the warehouse
	live atomic.Pointer[lorr.Live]
}

// pose reads a problem for the demo; robots 0 = its team.
func pose(path string, n int, seed uint64) (*posed, error) {
	p, err := lorr.Load(path)
	if err != nil {
		return nil, err
	}
	x := &posed{run: lorr.Run{Problem: p, Robots: n, Seed: seed, Motion: robots.Motion{SpeedMPS: 1, QuarterTurn: time.Second}}}
	if p.Delays != nil {
		x.run.Delays = p.Delays.Robots()
	}
	x.code = filepath.Base(filepath.Dir(path))
	_, err = x.run.Team()
	return x, err
}

// problemRobots registers the problem's robots: they stand on its start cells, or where they were last seen.
func (d *dev) problemRobots(ctx context.Context, w warehouse, x *posed) (*robots.Fleet, []string, error) {
	n, err := x.run.Team()
	if err != nil {
		return nil, nil, err
	}
	places, cells, err := startPlaces(ctx, d.client, w, x.run.Problem.Start[:n])
	if err != nil {
		return nil, nil, err
	}
	rs, err := register(ctx, d.client, w.ID, x.code, places)
	if err != nil {
		return nil, nil, err
	}
	vs, err := d.client.vertices(ctx, w.MapID, w.Version)
	if err != nil {
		return nil, nil, err
	}
	// A problem runs for as long as somebody looks: with all of some thousand robots on the road knots form that take
	// minutes to come apart, with fewer hardly anybody stands for long (ADR 14).
	few := congestion.CrowdFirst(len(vs))
	active := map[string]any{"dispatch": map[string]any{"warehouses": map[string]any{w.ID: map[string]any{"active": few}}}}
	if err := d.client.call(ctx, http.MethodPatch, "/api/v1/tenants/current/settings", "", active, nil); err != nil {
		return nil, nil, fmt.Errorf("set the tenant's dispatch: %w", err)
	}
	if err := d.lastPlaces(ctx, rs, vs); err != nil {
		return nil, nil, err
	}
	ids := make([]string, n)
	for i := range rs {
		ids[i] = rs[i].ID
	}
	x.live.Store(lorr.NewLive(x.run, ids, cells))
	f, err := robots.New(robots.Options{
		LinkAddr: d.linkAddr(), Token: d.token, WarehouseID: w.ID, Robots: rs, Seed: d.o.Seed, Log: d.Log,
		Motion: x.run.Motion, Delays: x.run.Delays, OnMove: x.live.Load().Moved,
	})
	return f, ids, err
}

// problemTasks keeps as many tasks open as the problem says, once its robots are online.
func (d *dev) problemTasks(ctx context.Context, w warehouse, x *posed) {
	for ctx.Err() == nil {
		if err := createMissing(ctx, d.client, w.ID, x.live.Load()); err != nil && ctx.Err() == nil {
			d.Log.WarnContext(ctx, "the problem's tasks were not taken", slog.String(keyEvent, "demo.task"), slog.String("error", err.Error()))
		}
		_ = lorr.Wait(ctx, 200*time.Millisecond)
	}
}

// stand is the longest time for which a robot with a task has stood since the start, for the terminal view.
func (x *posed) stand() string {
	if l := x.live.Load(); l != nil {
		longest, now := l.Stand()
		return fmt.Sprintf("  stood longest %.0f s, now %.0f s", longest.Seconds(), now.Seconds())
	}
	return ""
}

// start begins robots and tasks of the problem.
func (x *posed) start(ctx context.Context, d *dev, w warehouse, f *robots.Fleet, all *sync.WaitGroup) {
	all.Go(func() { f.Run(ctx) })
	all.Go(func() { d.problemTasks(ctx, w, x) })
}
