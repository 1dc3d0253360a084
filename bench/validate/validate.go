// Package validate checks the recording of a bench run against what the contract says a validator checks. It is
// written independently of the engine on purpose: it shares no code with it, not even the map's parser, and knows
// nothing of zones, grants or plans. It believes only where robots said they were.
//
// Cost: O(moves log moves) time; about 150 bytes a move.
package validate

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Rule names what a recording can violate.
type Rule string

// The rules.
const (
	RuleVertex      Rule = "vertex"      // two robots hold a vertex at once
	RuleSwap        Rule = "swap"        // two robots change places
	RuleAdjacent    Rule = "adjacent"    // a move between cells that are no 4-neighbours
	RuleConsecutive Rule = "consecutive" // a move that does not begin where and when the one before ended
	RuleFree        Rule = "free"        // a robot on a blocked cell or off the floor
	RuleLockstep    Rule = "lockstep"    // a move that is not one whole step
	RuleRobot       Rule = "robot"       // a robot that does not exist
	RuleErrand      Rule = "errand"      // an errand said to be reached where the robot has not been
)

// Finding is one violation.
type Finding struct {
	Rule    Rule
	Robot   int
	Other   int // the other robot, -1 where there is none
	Cell    int // -1 where there is none
	AtMS    int64
	Message string
}

// String says it in one line.
func (f Finding) String() string { return fmt.Sprintf("%s at %d ms: %s", f.Rule, f.AtMS, f.Message) }

// Count is how often a rule was violated.
type Count struct {
	Rule  Rule
	Times int
}

// Report is the outcome of a check.
type Report struct {
	Findings []Finding // at most Options.PerRule of each rule, earliest first
	Counts   []Count   // of every rule that was violated, all violations

	Robots, Moves   int
	Tasks, Finished int   // in the recording; with all errands reached
	Errands         int   // reached
	StillMaxMS      int64 // longest time in which a robot with a task made no move
	StillRobot      int   // whose it was, -1 where none had a task
	EndMS           int64 // of the last move or errand, or Options.EndMS
}

// OK says that nothing was violated.
func (r *Report) OK() bool { return len(r.Counts) == 0 }

// Options says how to check. The zero value is for real time.
type Options struct {
	Lockstep bool
	// PerRule is how many findings of each rule are kept. Zero = 20.
	PerRule int
	// EndMS is when the run ended, for the standing time of robots that never moved again. Zero = the last event.
	EndMS int64
}

// Dir reads and checks the recording in dir.
func Dir(dir, mapPath string, o Options) (Report, error) {
	r, err := Read(dir, mapPath)
	if err != nil {
		return Report{}, err
	}
	return Check(r, o), nil
}

// forever is the end of a robot's last holding.
const forever = math.MaxInt64

// holding is a robot's hold on a cell: from its arrival there until its arrival at the next.
type holding struct {
	robot, cell int
	from, to    int64
}

type checker struct {
	rec    *Recording
	opts   Options
	report Report
	found  map[Rule]int
	moves  [][]Move    // by robot, by time
	holds  [][]holding // by robot, by time
	finish int64
}

// Check checks a recording. It changes nothing of it.
func Check(rec *Recording, o Options) Report {
	if o.PerRule == 0 {
		o.PerRule = 20
	}
	c := &checker{rec: rec, opts: o, found: map[Rule]int{}}
	c.report = Report{Robots: len(rec.Start), Moves: len(rec.Moves), Tasks: len(rec.Tasks), StillRobot: -1}
	c.sortByRobot()
	for robot := range c.moves {
		c.follow(robot)
	}
	c.vertices()
	c.swaps()
	c.end()
	c.tasks()
	slices.SortStableFunc(c.report.Findings, func(a, b Finding) int { return cmp.Compare(a.AtMS, b.AtMS) })
	for rule, n := range c.found {
		c.report.Counts = append(c.report.Counts, Count{rule, n})
	}
	slices.SortFunc(c.report.Counts, func(a, b Count) int { return cmp.Compare(a.Rule, b.Rule) })
	return c.report
}

func (c *checker) find(rule Rule, robot, other, cell int, at int64, format string, args ...any) {
	c.found[rule]++
	if c.found[rule] <= c.opts.PerRule {
		c.report.Findings = append(c.report.Findings, Finding{rule, robot, other, cell, at, fmt.Sprintf(format, args...)})
	}
}

func (c *checker) sortByRobot() {
	c.moves = make([][]Move, len(c.rec.Start))
	c.holds = make([][]holding, len(c.rec.Start))
	for _, m := range c.rec.Moves {
		if m.Robot < 0 || m.Robot >= len(c.moves) {
			c.find(RuleRobot, m.Robot, -1, m.From, m.Depart, "robot %d moves, but start.json has %d robots", m.Robot, len(c.moves))
			continue
		}
		c.moves[m.Robot] = append(c.moves[m.Robot], m)
	}
	for _, ms := range c.moves {
		slices.SortStableFunc(ms, func(a, b Move) int {
			return cmp.Or(cmp.Compare(a.Depart, b.Depart), cmp.Compare(a.Arrive, b.Arrive))
		})
	}
}

// follow checks the moves of one robot by themselves and notes what it held when.
func (c *checker) follow(robot int) {
	at, since := c.rec.Start[robot], int64(0)
	if !c.rec.Grid.free(at) {
		c.find(RuleFree, robot, -1, at, 0, "robot %d starts on cell %d, which is not free", robot, at)
	}
	for _, m := range c.moves[robot] {
		if m.From != at || m.Depart < since || m.Arrive <= m.Depart {
			c.find(RuleConsecutive, robot, -1, m.From, m.Depart, "robot %d goes from %d to %d in [%d, %d] ms, but stands on %d since %d ms",
				robot, m.From, m.To, m.Depart, m.Arrive, at, since)
		}
		if !c.rec.Grid.free(m.From) || !c.rec.Grid.free(m.To) {
			c.find(RuleFree, robot, -1, m.To, m.Depart, "robot %d goes from %d to %d, which are not both free", robot, m.From, m.To)
		}
		if !c.rec.Grid.adjacent(m.From, m.To) {
			c.find(RuleAdjacent, robot, -1, m.To, m.Depart, "robot %d goes from %d to %d, which are no 4-neighbours", robot, m.From, m.To)
		}
		const step = 1000
		if c.opts.Lockstep && (m.Depart%step != 0 || m.Arrive != m.Depart+step) {
			c.find(RuleLockstep, robot, -1, m.To, m.Depart, "robot %d moves in [%d, %d] ms, which is not one step", robot, m.Depart, m.Arrive)
		}
		c.holds[robot] = append(c.holds[robot], holding{robot, m.From, since, m.Arrive})
		at, since = m.To, m.Arrive
		c.finish = max(c.finish, m.Arrive)
	}
	c.holds[robot] = append(c.holds[robot], holding{robot, at, since, forever})
}

// latest keeps, of what was seen so far, what ends last, and what ends last of any other robot: whoever comes next
// is compared with the one that is not itself.
type latest struct {
	robot, other     int
	until, otherTill int64
}

func newLatest() latest {
	return latest{robot: -1, other: -1, until: math.MinInt64, otherTill: math.MinInt64}
}

func (l *latest) add(robot int, until int64) {
	switch {
	case robot == l.robot:
		l.until = max(l.until, until)
	case until > l.until:
		l.other, l.otherTill = l.robot, l.until
		l.robot, l.until = robot, until
	case until > l.otherTill:
		l.other, l.otherTill = robot, until
	}
}

// but is what ends last of any robot but this one.
func (l *latest) but(robot int) (int, int64) {
	if l.robot == robot {
		return l.other, l.otherTill
	}
	return l.robot, l.until
}

// vertices checks that no two robots hold a cell at once. Holdings may touch.
func (c *checker) vertices() {
	all := slices.Concat(c.holds...)
	slices.SortFunc(all, func(a, b holding) int {
		return cmp.Or(cmp.Compare(a.cell, b.cell), cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to), cmp.Compare(a.robot, b.robot))
	})
	seen := newLatest()
	for i, h := range all {
		if i > 0 && all[i-1].cell != h.cell {
			seen = newLatest()
		}
		if other, until := seen.but(h.robot); h.from < until {
			c.find(RuleVertex, h.robot, other, h.cell, h.from, "robot %d comes to cell %d, which robot %d holds until %s", h.robot, h.cell, other, ms(until))
		}
		seen.add(h.robot, h.to)
	}
}

func ms(t int64) string {
	if t == forever {
		return "the end"
	}
	return fmt.Sprintf("%d ms", t)
}

// swaps checks that no two robots pass each other between two cells.
func (c *checker) swaps() {
	all := slices.Concat(c.moves...)
	edge := func(m Move) (int, int) { return min(m.From, m.To), max(m.From, m.To) }
	slices.SortStableFunc(all, func(a, b Move) int {
		a1, a2 := edge(a)
		b1, b2 := edge(b)
		return cmp.Or(cmp.Compare(a1, b1), cmp.Compare(a2, b2), cmp.Compare(a.Depart, b.Depart), cmp.Compare(a.Robot, b.Robot))
	})
	up, down := newLatest(), newLatest()
	for i, m := range all {
		if i > 0 {
			a1, a2 := edge(all[i-1])
			if b1, b2 := edge(m); a1 != b1 || a2 != b2 {
				up, down = newLatest(), newLatest()
			}
		}
		same, opposite := &up, &down
		if m.From > m.To {
			same, opposite = &down, &up
		}
		if other, until := opposite.but(m.Robot); m.Depart < until {
			c.find(RuleSwap, m.Robot, other, m.To, m.Depart, "robot %d goes from %d to %d while robot %d comes the other way until %d ms",
				m.Robot, m.From, m.To, other, until)
		}
		same.add(m.Robot, m.Arrive)
	}
}

func (c *checker) end() {
	for _, t := range c.rec.Tasks {
		for _, e := range t.Errands {
			c.finish = max(c.finish, e.Reached)
		}
	}
	c.report.EndMS = max(c.opts.EndMS, c.finish)
}
