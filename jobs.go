package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/persistence/jobs"
	"starling/persistence/postgres"
)

// jobsShutdown is how long jobs under way may take to end when the process stops.
const jobsShutdown = 2 * time.Second

// startJobs starts the background jobs of this process's roles: a worker finds what wants care and keeps house, the engine
// does what concerns tasks and robots. A process that is neither has none.
func (a *app) startJobs(ctx context.Context, registry prometheus.Registerer) error {
	engine, worker := slices.Contains(a.Roles, roleEngine) && a.system != nil, slices.Contains(a.Roles, roleWorker)
	if !engine && !worker {
		return nil
	}
	var err error
	if a.jobRows, err = a.store.Jobs(ctx); err != nil {
		return err
	}
	o := jobs.Options{URL: a.Config.RedisURL.Reveal(), Shutdown: jobsShutdown, Log: a.Log, Registerer: registry}
	var e jobs.Engine
	if engine {
		e = jobEngine{a}
		o.Queues = append(o.Queues, jobs.Control)
	}
	kinds, attach := jobs.CareKinds(jobs.CareOptions{Late: a.cancelLate, Every: a.JobsEvery, OutboxDays: a.outboxDays(), Log: a.Log}, a.jobRows, e)
	attachHooks := func(*jobs.Runner) {}
	if pumps := a.pumps(); worker {
		o.Queues = append(o.Queues, jobs.Housekeeping)
		var more []jobs.Kind
		more, attachHooks = a.hookKinds()
		kinds = append(kinds, more...)
		if pumps != nil {
			o.Queues = append(o.Queues, jobs.Facts)
			kinds = append(kinds, jobs.OutboxKinds(pumps)...)
		}
	} else {
		kinds = append(kinds, jobs.Wakes(), jobs.HookLooks())
	}
	if a.jobs, err = jobs.Open(o, kinds...); err != nil {
		return err
	}
	attach(a.jobs)
	attachHooks(a.jobs)
	return a.jobs.Start()
}

// outboxDays is for how many days sent facts are kept. Without brokers nothing is sent, and the outbox is left alone.
func (a *app) outboxDays() int {
	if len(a.Config.KafkaBrokers) == 0 {
		return -1
	}
	return a.Config.OutboxDays
}

// stopJobs ends them; what is left stands in Redis, or is found again.
func (a *app) stopJobs() {
	if a.jobs != nil {
		_ = a.jobs.Close()
	}
	if a.jobRows != nil {
		a.jobRows.Close()
	}
}

// cancelLate is after how long a tenant's late tasks are cancelled, 0 = never.
func (a *app) cancelLate(ctx context.Context, tenant fleet.TenantID) time.Duration {
	s := a.quotas.Settings(ctx, tenant)
	return s.CancelLate()
}

// jobEngine is the engine as jobs want it. A shard that a living process owns is left to that one: to open it here would
// take it away.
type jobEngine struct{ a *app }

// mine says that the shard may be opened here.
func (e jobEngine) mine(ctx context.Context, s fleet.Shard) error {
	if e.a.Alone || e.a.system.Lives(s) {
		return nil
	}
	owner, alive, err := e.a.jobRows.Owner(ctx, s)
	if err != nil {
		return err
	}
	if alive && owner != e.a.system.Owner {
		return fmt.Errorf("shard %s: %w", s.Key(), jobs.ErrElsewhere)
	}
	return nil
}

// WakeShard implements jobs.Engine.
func (e jobEngine) WakeShard(ctx context.Context, s fleet.Shard) error {
	if err := e.mine(ctx, s); err != nil {
		return err
	}
	return e.a.system.Open(ctx, s)
}

// WakeTask implements jobs.Engine.
func (e jobEngine) WakeTask(ctx context.Context, s fleet.Shard, id fleet.TaskID) error {
	if err := e.mine(ctx, s); err != nil {
		return err
	}
	return e.a.system.LetTaskLive(ctx, s, id)
}

// WakeRobot implements jobs.Engine.
func (e jobEngine) WakeRobot(ctx context.Context, s fleet.Shard, id fleet.RobotID) error {
	if err := e.mine(ctx, s); err != nil {
		return err
	}
	return e.a.system.LetRobotLive(ctx, s, id)
}

// RobotGone implements jobs.Engine: the robot is asked for first, and one that is there keeps its task.
func (e jobEngine) RobotGone(ctx context.Context, s fleet.Shard, id fleet.TaskID, r fleet.RobotID) error {
	if err := e.mine(ctx, s); err != nil {
		return err
	}
	if r != "" {
		if err := e.a.system.LetRobotLive(ctx, s, r); err != nil && !missing(err) {
			return err
		}
		if v, _, ok := e.a.views.Robot(s, r); ok && v.Connection != fleet.Offline {
			return nil
		}
	}
	return e.a.system.TakeBack(ctx, s, id, r, "robot is gone")
}

// CancelTask implements jobs.Engine.
func (e jobEngine) CancelTask(ctx context.Context, s fleet.Shard, id fleet.TaskID, reason string, trace fleet.Trace) error {
	if err := e.mine(ctx, s); err != nil {
		return err
	}
	_, err := e.a.system.CancelTask(ctx, s, id, reason, fleet.Actor{Part: "job"}, trace)
	if errors.Is(err, fact.ErrConflict) { // it has ended
		return nil
	}
	return err
}

// Tasks implements jobs.Engine.
func (e jobEngine) Tasks(s fleet.Shard) (open []fact.OpenTask, ok bool) {
	if !e.a.system.Lives(s) {
		return nil, false
	}
	e.a.views.Tasks(s, func(v *task.View) bool {
		open = append(open, fact.OpenTask{Task: v.Spec.ID, Status: v.Status, Robot: v.Robot, Version: v.Version})
		return true
	})
	return open, true
}

// Robots implements jobs.Engine.
func (e jobEngine) Robots(s fleet.Shard) map[fleet.RobotID]fleet.TaskID {
	about := map[fleet.RobotID]fleet.TaskID{}
	if e.a.system.Lives(s) {
		e.a.views.Robots(s, func(v *robot.View) bool {
			about[v.ID] = v.Task
			return true
		})
	}
	return about
}

var (
	_ jobs.Engine = jobEngine{}
	_ jobs.Rows   = (*postgres.JobsRepo)(nil)
)
