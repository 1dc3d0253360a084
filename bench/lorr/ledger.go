package lorr

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"starling/bench/record"
	"starling/engine/fleet"
	"starling/engine/task"
)

// ledger is what a run remembers: who was where, who had which task since when. Safe for concurrent use.
type ledger struct {
	mu       sync.Mutex
	start    time.Time
	tasks    map[fleet.TaskID]*entry
	order    []*entry
	robots   map[fleet.RobotID]int
	finished int
	open     int
	cell     []int       // by robot: where it is
	freed    []time.Time // by robot: since when it has no task
	lastMove []time.Time
	busy     []*entry
	stuck    time.Duration
	decision []time.Duration
	moves    []record.Move
	forget   bool // nobody wants a recording: neither moves nor ended tasks are kept
}

type entry struct {
	number   int
	cells    []int
	robot    int
	created  time.Time
	assigned time.Time
	ended    time.Time
	reached  []time.Time
}

func newLedger(start time.Time, robots []fleet.RobotID, cells []int) *ledger {
	l := &ledger{start: start, tasks: map[fleet.TaskID]*entry{}, robots: map[fleet.RobotID]int{}}
	l.cell = append(l.cell, cells...)
	for i, r := range robots {
		l.robots[r] = i
	}
	l.freed, l.lastMove, l.busy = make([]time.Time, len(robots)), make([]time.Time, len(robots)), make([]*entry, len(robots))
	for i := range l.freed {
		l.freed[i], l.lastMove[i] = start, start
	}
	return l
}

// created notes a task before the engine can say anything of it.
func (l *ledger) created(id fleet.TaskID, number int, cells []int, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &entry{number: number, cells: cells, robot: -1, created: at, reached: make([]time.Time, len(cells))}
	l.tasks[id] = e
	if !l.forget {
		l.order = append(l.order, e)
	}
	l.open++
}

// showTask takes what the engine shows of a task.
func (l *ledger) showTask(v *task.View, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.tasks[v.Spec.ID]
	if e == nil || !e.ended.IsZero() {
		return
	}
	if v.Status == fleet.TaskCreated && e.robot >= 0 { // given back
		l.busy[e.robot], l.freed[e.robot] = nil, now
		e.robot = -1
		clear(e.reached[min(v.Errand, len(e.reached)):])
	}
	if r, ok := l.robots[v.Robot]; ok && v.Status != fleet.TaskCreated && e.robot != r {
		e.robot, e.assigned = r, v.AssignedAt
		since := e.created
		if l.freed[r].After(since) {
			since = l.freed[r]
		}
		if !l.forget {
			l.decision = append(l.decision, max(0, v.AssignedAt.Sub(since)))
		}
		l.busy[r] = e
		l.visit(e, l.cell[r], v.AssignedAt) // it may stand there already
		l.lastMove[r] = latest(l.lastMove[r], now)
	}
	if v.Status.Final() {
		if l.forget {
			delete(l.tasks, v.Spec.ID)
		}
		e.ended = now
		l.open--
		if v.Status == fleet.TaskSucceeded {
			l.finished++
		}
		if e.robot >= 0 && l.busy[e.robot] == e {
			l.busy[e.robot], l.freed[e.robot] = nil, now
		}
	}
}

// moved takes a move that a robot has reported.
func (l *ledger) moved(robot, from, to int, depart, arrive time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.forget {
		l.keep(record.Move{Robot: robot, From: from, To: to, DepartMS: l.ms(depart), ArriveMS: l.ms(arrive)})
	}
	l.stood(robot, depart)
	l.lastMove[robot], l.cell[robot] = arrive, to
	// Errands are reached in order, by the robot's own word.
	if e := l.busy[robot]; e != nil {
		l.visit(e, to, arrive)
	}
}

func (l *ledger) keep(m record.Move) { l.moves = append(l.moves, m) }

// stand is for how long a robot with a task has stood: the longest ever, and the longest at this time.
func (l *ledger) stand(at time.Time) (longest, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r, e := range l.busy {
		if e != nil {
			now = max(now, at.Sub(latest(l.lastMove[r], e.assigned)))
		}
	}
	return max(l.stuck, now), now
}

// visit marks errands that end on a cell.
func (l *ledger) visit(e *entry, cell int, at time.Time) {
	for k := range e.cells {
		if e.reached[k].IsZero() {
			if e.cells[k] != cell {
				return
			}
			e.reached[k] = at
		}
	}
}

// stood notes how long a robot with a task had not moved.
func (l *ledger) stood(robot int, until time.Time) {
	if e := l.busy[robot]; e != nil {
		l.stuck = max(l.stuck, until.Sub(latest(l.lastMove[robot], e.assigned)))
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (l *ledger) ms(t time.Time) int64 { return t.Sub(l.start).Milliseconds() }

// close ends the run at a time.
func (l *ledger) close(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := range l.busy {
		l.stood(r, now)
	}
}

// write makes the recording.
func (l *ledger) write(dir string, start []int, s record.Summary) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	w, err := record.Create(dir, start)
	if err != nil {
		return fmt.Errorf("start the recording: %w", err)
	}
	slices.SortStableFunc(l.moves, func(a, b record.Move) int { return cmp.Compare(a.DepartMS, b.DepartMS) })
	for _, m := range l.moves {
		w.Move(m)
	}
	for _, e := range l.order {
		if e.robot < 0 {
			continue
		}
		t := record.Task{Task: e.number, Robot: e.robot, AssignedMS: l.ms(e.assigned)}
		for k, c := range e.cells {
			x := record.Errand{Cell: c}
			if !e.reached[k].IsZero() {
				ms := l.ms(e.reached[k])
				x.ReachedMS = &ms
			}
			t.Errands = append(t.Errands, x)
		}
		w.Task(t)
	}
	s.TasksFinished, s.StuckMaxS = l.finished, l.stuck.Seconds()
	if s.DecisionMS != nil {
		s.DecisionMS = percentiles(l.decision)
	}
	return w.Close(s)
}

// percentiles describes durations in milliseconds.
func percentiles(d []time.Duration) *record.Percentiles {
	if len(d) == 0 {
		return &record.Percentiles{}
	}
	d = slices.Clone(d)
	slices.Sort(d)
	at := func(q float64) float64 {
		return float64(d[min(len(d)-1, int(q*float64(len(d))))].Microseconds()) / 1000
	}
	return &record.Percentiles{P50: at(0.5), P99: at(0.99), Max: at(1)}
}
