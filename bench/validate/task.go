package validate

import (
	"cmp"
	"slices"
)

// span is a stretch of time in milliseconds.
type span struct{ from, to int64 }

// tasks counts what was done, checks that robots were where errands say they were, and measures how long robots with
// a task stood.
func (c *checker) tasks() {
	busy := make([][]span, len(c.moves))
	for _, t := range c.rec.Tasks {
		if t.Robot >= len(c.moves) {
			c.find(RuleRobot, t.Robot, -1, -1, t.Assigned, "task %d is awarded to robot %d, but start.json has %d robots", t.ID, t.Robot, len(c.moves))
			continue
		}
		if t.Robot < 0 {
			if slices.ContainsFunc(t.Errands, func(e Errand) bool { return e.Reached >= 0 }) {
				c.find(RuleErrand, -1, -1, -1, 0, "task %d has errands reached, but no robot", t.ID)
			}
			continue
		}
		done := c.errands(t)
		end := c.report.EndMS
		if done && len(t.Errands) > 0 {
			c.report.Finished++
			end = t.Errands[len(t.Errands)-1].Reached
		}
		busy[t.Robot] = append(busy[t.Robot], span{t.Assigned, end})
	}
	for robot, spans := range busy {
		if len(spans) > 0 {
			c.still(robot, union(spans))
		}
	}
}

// errands checks one task: its errands were reached in order, and the robot stood on each cell by then. It reports
// whether all were.
func (c *checker) errands(t Task) bool {
	holds := c.holds[t.Robot]
	since, before, k, open := t.Assigned, t.Assigned, 0, false
	for n, e := range t.Errands {
		if e.Reached < 0 {
			open = true
			continue
		}
		c.report.Errands++
		if open || e.Reached < before {
			c.find(RuleErrand, t.Robot, -1, e.Cell, e.Reached, "errand %d of task %d is reached before the one before it, or before the award", n, t.ID)
		}
		before = e.Reached
		for k < len(holds) && (holds[k].cell != e.Cell || holds[k].to < since) {
			k++
		}
		if k == len(holds) || holds[k].from > e.Reached {
			c.find(RuleErrand, t.Robot, -1, e.Cell, e.Reached, "errand %d of task %d: robot %d was not on cell %d between %d and %d ms",
				n, t.ID, t.Robot, e.Cell, since, e.Reached)
			return !open && !slices.ContainsFunc(t.Errands[n:], func(e Errand) bool { return e.Reached < 0 })
		}
		since = max(since, holds[k].from)
	}
	return !open
}

// union joins spans that overlap or touch.
func union(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	out := spans[:1]
	for _, s := range spans[1:] {
		if last := &out[len(out)-1]; s.from <= last.to {
			last.to = max(last.to, s.to)
			continue
		}
		out = append(out, s)
	}
	return out
}

// still finds the longest time for which a robot stood while it had a task.
func (c *checker) still(robot int, busy []span) {
	since, k := int64(0), 0
	stood := func(from, to int64) {
		for k > 0 && busy[k-1].to > from {
			k--
		}
		for ; k < len(busy) && busy[k].from < to; k++ {
			if d := min(to, busy[k].to) - max(from, busy[k].from); d > c.report.StillMaxMS || c.report.StillRobot < 0 && d >= 0 {
				c.report.StillMaxMS, c.report.StillRobot = d, robot
			}
		}
	}
	for _, m := range c.moves[robot] {
		stood(since, m.Depart)
		since = m.Arrive
	}
	stood(since, c.report.EndMS)
}
