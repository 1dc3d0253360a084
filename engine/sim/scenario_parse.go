package sim

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The bounds of a scenario: it is for people to look at.
const (
	maxScenarioCells  = 4096
	maxScenarioRobots = 100
	maxScenarioBound  = 30 * time.Minute
)

// ParseScenario reads a scenario's text. Lines that begin with a dash and a blank are remarks; docs/traffic.md shows the rest.
func ParseScenario(name, text string) (*Scenario, error) {
	sc := &Scenario{Name: name, Cell: 1, Window: 3, places: map[string]int{}}
	lines := strings.Split(strings.ReplaceAll(text, "\r", ""), "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		switch {
		case line == "" || strings.HasPrefix(line, "- "):
			continue
		case line == "floor" || line == "zones":
			var rows []string
			for i++; i < len(lines) && strings.TrimSpace(lines[i]) != ""; i++ {
				rows = append(rows, strings.TrimSpace(lines[i]))
			}
			if line == "floor" {
				sc.Floor = rows
			} else {
				sc.Zones = rows
			}
			continue
		}
		if err := sc.line(line); err != nil {
			return nil, fmt.Errorf("scenario %s, line %d: %w", name, i+1, err)
		}
	}
	if err := sc.check(); err != nil {
		return nil, fmt.Errorf("scenario %s: %w", name, err)
	}
	if _, err := sc.graph("map"); err != nil {
		return nil, fmt.Errorf("scenario %s: %w", name, err)
	}
	return sc, nil
}

// words reads a line word by word.
type words struct {
	list []string
	err  error
}

func (w *words) next() string {
	if len(w.list) == 0 {
		w.fail("a word is missing at the end")
		return ""
	}
	s := w.list[0]
	w.list = w.list[1:]
	return s
}

func (w *words) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// skip takes one of these words where it comes next.
func (w *words) skip(of ...string) bool {
	if len(w.list) > 0 && slices.Contains(of, w.list[0]) {
		w.list = w.list[1:]
		return true
	}
	return false
}

func (w *words) want(word string) {
	if !w.skip(word) {
		w.fail("want %q before %q", word, strings.Join(w.list, " "))
	}
}

func (w *words) duration() time.Duration {
	s := w.next()
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > maxScenarioBound {
		w.fail("%q is no duration between 0 and %v", s, maxScenarioBound)
	}
	return d
}

func (w *words) number(low, high float64) float64 {
	s := w.next()
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= low && f <= high) {
		w.fail("%q is no number between %v and %v", s, low, high)
	}
	return f
}

// names takes names until one of the words that end a list, or the end.
func (w *words) names(ends ...string) (names []string) {
	for len(w.list) > 0 && !slices.Contains(ends, w.list[0]) {
		names = append(names, w.next())
	}
	if len(names) == 0 {
		w.fail("a name is missing")
	}
	return names
}

func (w *words) done() error {
	if w.err == nil && len(w.list) > 0 {
		w.fail("too much: %q", strings.Join(w.list, " "))
	}
	return w.err
}

func (sc *Scenario) line(line string) error {
	w := &words{list: strings.Fields(line)}
	switch word := w.next(); word {
	case "title":
		sc.Title = strings.Join(w.list, " ")
		return nil
	case "about":
		sc.About = strings.TrimSpace(sc.About + " " + strings.Join(w.list, " "))
		return nil
	case "lockstep":
		sc.Lockstep = true
	case "cell":
		sc.Cell = w.number(0.1, 10)
	case "window":
		sc.Window = int(w.number(1, 8))
	case "parking":
		sc.Parking = w.names()
	case "within":
		sc.Within = w.duration()
	case "robot":
		sc.robot(w)
	case "task":
		sc.task(w)
	case "at":
		sc.fault(w, line)
	case "expect":
		sc.expect(w, line)
	default:
		return fmt.Errorf("what is %q?", word)
	}
	return w.done()
}

func (sc *Scenario) robot(w *words) {
	c := Cast{Name: w.next(), SpeedMPS: 1, RadiusM: 0.3}
	w.want("at")
	c.At = w.next()
	for len(w.list) > 0 && w.err == nil {
		switch word := w.next(); word {
		case "facing":
			to := w.next()
			k := slices.Index([]string{"east", "north", "west", "south"}, to)
			if k < 0 {
				w.fail("nobody faces %q", to)
			}
			c.Facing = float64(k) * math.Pi / 2
		case "speed":
			c.SpeedMPS = w.number(0.05, 10)
		case "radius":
			c.RadiusM = w.number(0.05, 5)
		case "foreign":
			c.Foreign = true
		default:
			w.fail("what is %q?", word)
		}
	}
	sc.Robots = append(sc.Robots, c)
}

func (sc *Scenario) task(w *words) {
	e := Errand{Name: w.next()}
	for len(w.list) > 0 && w.err == nil {
		switch word := w.next(); word {
		case "robot":
			e.Robot = w.next()
		case "visit":
			e.Visit = w.names("priority", "at", "robot")
		case "priority":
			e.Priority = uint8(w.number(0, 9))
		case "at":
			e.At = w.duration()
		default:
			w.fail("what is %q?", word)
		}
	}
	sc.Tasks = append(sc.Tasks, e)
}

// fault reads what happens at a time.
func (sc *Scenario) fault(w *words, line string) {
	f := Fault{At: w.duration(), Line: line}
	switch word := w.next(); word {
	case "zone":
		f.Who = []string{w.next()}
		sc.zoneFault(w, &f)
	case "mail":
		f.Who = []string{w.next(), w.next()}
		if f.Kind = MailLost; !w.skip("lost") {
			w.want("late")
			f.Kind, f.Late = MailLate, w.duration()
		}
	case "process":
		w.want("restarts")
		f.Kind = ProcessDown
	case "dispatcher":
		w.want("restarts")
		f.Kind = DispatchDown
	case "robot":
		f.Who = []string{w.next()}
		sc.robotFault(w, &f)
	case "pause", "resume":
		f.Who, f.Kind = []string{w.next()}, RobotPause
		if word == "resume" {
			f.Kind = RobotResume
		}
	case "lane":
		f.Who = []string{w.next(), w.next()}
		if f.Kind = LaneClose; !w.skip("closes") {
			w.want("opens")
			f.Kind = LaneOpen
		}
	case "keepout":
		f.Kind = KeepOut
		if !w.skip("nothing") {
			f.Who = w.names("for")
		}
	case "cancel":
		f.Who, f.Kind = []string{w.next()}, TaskCancelled
	default:
		w.fail("what is %q?", word)
	}
	if w.skip("for") {
		f.For = w.duration()
	}
	sc.Faults = append(sc.Faults, f)
}

func (sc *Scenario) zoneFault(w *words, f *Fault) {
	switch word := w.next(); word {
	case "silent":
		f.Kind = ZoneSilent
	case "frozen":
		f.Kind = ZoneFrozen
	case "slow":
		f.Kind, f.Late = ZoneSlow, w.duration()
	case "restarts":
		f.Kind = ZoneRestart
	default:
		w.fail("a zone cannot %q", word)
	}
}

func (sc *Scenario) robotFault(w *words, f *Fault) {
	switch word := w.next(); word {
	case "stops":
		f.Kind = RobotStop
	case "silent":
		f.Kind = RobotSilent
	case "slow":
		f.Kind, f.Factor = RobotSlow, w.number(1, 100)
	case "reboots":
		f.Kind = RobotReboot
	case "drops":
		f.Kind = RobotDrop
	case "taken":
		f.Kind = RobotTaken
	default:
		w.fail("a robot cannot %q", word)
	}
}

// check looks at the whole, and finds the places.
func (sc *Scenario) check() error {
	if len(sc.Floor) == 0 || len(sc.Robots) == 0 || sc.Within == 0 {
		return errors.New("want at least a floor, a robot and a bound (within)")
	}
	sc.cols = len(sc.Floor[0])
	if len(sc.Floor)*sc.cols > maxScenarioCells || len(sc.Robots) > maxScenarioRobots {
		return fmt.Errorf("at most %d cells and %d robots", maxScenarioCells, maxScenarioRobots)
	}
	for _, rows := range [][]string{sc.Floor, sc.Zones} {
		for r, row := range rows {
			if len(row) != sc.cols || len(rows) != len(sc.Floor) {
				return fmt.Errorf("row %d: floor and zones want equal rows of equal length", r)
			}
		}
	}
	for r, row := range sc.Floor {
		for c := range row {
			if ch := row[c]; ch != '.' && strings.IndexByte(walls+arrows, ch) < 0 {
				if _, twice := sc.places[string(ch)]; twice {
					return fmt.Errorf("place %c is there twice", ch)
				}
				sc.places[string(ch)] = r*sc.cols + c
			}
		}
	}
	return sc.checkCast()
}

// checkCast looks at all names.
func (sc *Scenario) checkCast() error {
	var errs []error
	free := func(ref, what string) {
		c, err := sc.cell(ref)
		if err == nil && strings.IndexByte(walls, sc.Floor[c/sc.cols][c%sc.cols]) >= 0 {
			err = fmt.Errorf("%s is a wall", ref)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	starts, names := map[int]bool{}, map[string]bool{}
	for _, r := range sc.Robots {
		if names[r.Name] {
			errs = append(errs, fmt.Errorf("robot %s is there twice", r.Name))
		}
		names[r.Name] = true
		free(r.At, r.Name)
		if c, err := sc.cell(r.At); err == nil {
			if starts[c] {
				errs = append(errs, fmt.Errorf("%s: somebody stands on %s already", r.Name, r.At))
			}
			starts[c] = true
		}
	}
	known := func(name string) bool {
		return slices.ContainsFunc(sc.Robots, func(c Cast) bool { return c.Name == name })
	}
	for _, t := range sc.Tasks {
		if names[t.Name] {
			errs = append(errs, fmt.Errorf("%s is there twice", t.Name))
		}
		names[t.Name] = true
		if t.Robot != "" && !known(t.Robot) {
			errs = append(errs, fmt.Errorf("%s: no robot %s", t.Name, t.Robot))
		}
		if len(t.Visit) == 0 {
			errs = append(errs, fmt.Errorf("%s: nothing to visit", t.Name))
		}
		for _, v := range t.Visit {
			free(v, t.Name)
		}
	}
	for _, f := range sc.Faults {
		errs = append(errs, sc.checkWho(f, known))
	}
	for _, e := range sc.Expects {
		errs = append(errs, sc.checkExpect(&e, known))
	}
	return errors.Join(errs...)
}

// checkExpect looks at the names that an expectation speaks of: one that nobody bears would always come true.
func (sc *Scenario) checkExpect(e *Expect, known func(string) bool) error {
	task := func(name string) bool {
		return slices.ContainsFunc(sc.Tasks, func(t Errand) bool { return t.Name == name })
	}
	cell := func(ref string) bool { _, err := sc.cell(ref); return err == nil }
	ok := true
	switch e.Kind {
	case GivesWay, KeepsOn, Stands, Moves:
		ok = known(e.Who)
	case PassesBefore:
		ok = known(e.Who) && known(e.Other) && cell(e.Place)
	case Waits:
		ok = known(e.Who) && (e.Other == "" || known(e.Other))
	case NobodyEnters:
		ok = sc.hasZone(e.Place)
	case NobodyOn:
		ok = cell(e.Place)
	case EndsBy:
		ok = task(e.Who)
	case EndsBefore:
		ok = task(e.Who) && task(e.Other)
	case Merged:
		ok = sc.hasZone(e.Who)
	case RingSeen, NoRing, RingRecorded:
	}
	if !ok {
		return fmt.Errorf("expect %s: who or what is that?", e.Line)
	}
	return nil
}

func (sc *Scenario) hasZone(name string) bool {
	return len(name) == 1 && slices.ContainsFunc(sc.Zones, func(row string) bool { return strings.Contains(row, name) })
}

// checkWho looks at the names that a fault speaks of.
func (sc *Scenario) checkWho(f Fault, known func(string) bool) error {
	for _, who := range f.Who {
		ok := true
		switch f.Kind {
		case ZoneSilent, ZoneFrozen, ZoneSlow, ZoneRestart, MailLost, MailLate:
			ok = sc.hasZone(who)
		case RobotStop, RobotSilent, RobotSlow, RobotReboot, RobotDrop, RobotTaken, RobotPause, RobotResume:
			ok = known(who)
		case LaneClose, LaneOpen, KeepOut:
			_, err := sc.cell(who)
			ok = err == nil
		case TaskCancelled:
			ok = slices.ContainsFunc(sc.Tasks, func(e Errand) bool { return e.Name == who })
		case ProcessDown, DispatchDown:
		}
		if !ok {
			return fmt.Errorf("%s: what is %q?", f.Line, who)
		}
	}
	return nil
}
