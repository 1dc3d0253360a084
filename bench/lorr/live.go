package lorr

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"starling/bench/hall"
	"starling/bench/record"
	"starling/bench/robots"
	"starling/engine/fleet"
	"starling/engine/task"
)

// Live measures a run in real time: whoever starts engine, robots and client tells it what happens. One step is a second.
type Live struct {
	run    Run
	n      int
	ledger *ledger
	cells  []int // cell of each vertex index
	wall   time.Time
	cpu    time.Duration

	mu       sync.Mutex
	commands []time.Duration
	next     int
}

// NewLive begins a run: ids are the robots in the order of their start cells, cells the cell number of each vertex.
func NewLive(run Run, ids []string, cells []int) *Live {
	l := &Live{run: run, n: len(ids), cells: cells, wall: time.Now()}
	l.cpu = hall.CPU()
	rs := make([]fleet.RobotID, len(ids))
	for i, id := range ids {
		rs[i] = fleet.RobotID(id)
	}
	l.ledger = newLedger(l.wall, rs, run.Problem.Start[:len(ids)])
	l.ledger.forget = run.Dir == ""
	return l
}

// Started is when the run began.
func (l *Live) Started() time.Time { return l.wall }

// Finished is how many tasks have succeeded.
func (l *Live) Finished() int {
	l.ledger.mu.Lock()
	defer l.ledger.mu.Unlock()
	return l.ledger.finished
}

// Missing is how many tasks should be created now so that as many are open as the problem says.
func (l *Live) Missing() int {
	l.ledger.mu.Lock()
	defer l.ledger.mu.Unlock()
	return max(0, int(l.run.Problem.TasksReveal*float64(l.n))-l.ledger.open)
}

// NextTask takes the next task of the problem; ok is false when there is none.
func (l *Live) NextTask() (number int, cells []int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next >= len(l.run.Problem.Tasks) {
		return 0, nil, false
	}
	l.next++
	return l.next - 1, l.run.Problem.Tasks[l.next-1], true
}

// Created notes a task that the engine has acknowledged.
func (l *Live) Created(id string, number int, cells []int, at time.Time) {
	l.ledger.created(fleet.TaskID(id), number, cells, at)
}

// ShowTask takes what the engine shows of a task.
func (l *Live) ShowTask(v *task.View) { l.ledger.showTask(v, time.Now()) }

// Moved takes a move that a robot reported; times before the run's start are the start.
func (l *Live) Moved(m robots.Move) {
	l.ledger.moved(m.Robot, l.cells[m.From], l.cells[m.To], latest(m.Depart, l.wall), latest(m.Arrive, l.wall))
}

// Stand is for how long a robot with a task has stood without a move: the longest so far, and the longest now.
func (l *Live) Stand() (longest, now time.Duration) { return l.ledger.stand(time.Now()) }

// Command notes how long a command took from the request to the robot's acknowledgement.
func (l *Live) Command(took time.Duration) {
	l.mu.Lock()
	l.commands = append(l.commands, took)
	l.mu.Unlock()
}

// Close ends the run and writes the recording.
func (l *Live) Close() (record.Summary, error) {
	l.ledger.close(time.Now())
	s := record.Summary{Steps: l.run.Steps, Robots: l.n, WallS: time.Since(l.wall).Seconds(), DecisionMS: &record.Percentiles{}}
	cpu, rss := hall.Usage()
	s.CPUS, s.MaxRSSBytes = (cpu - l.cpu).Seconds(), rss
	l.mu.Lock()
	s.CommandMS = percentiles(l.commands)
	l.mu.Unlock()
	l.ledger.mu.Lock()
	s.TasksFinished, s.StuckMaxS, s.DecisionMS = l.ledger.finished, l.ledger.stuck.Seconds(), percentiles(l.ledger.decision)
	l.ledger.mu.Unlock()
	return s, l.ledger.write(l.run.Dir, l.run.Problem.Start[:l.n], s)
}

// Team is how many robots the run has.
func (r *Run) Team() (int, error) { return r.team() }

// Wait lets a step pass, or returns ctx's error.
func Wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("the run was broken off: %w", ctx.Err())
	case <-time.After(d):
		return nil
	}
}

// Place is a cell as the API names it.
func Place(cell int) string { return strconv.Itoa(cell) }
