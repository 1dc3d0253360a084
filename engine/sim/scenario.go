package sim

import (
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// ErrNoScenario is returned for a name that no scenario of the house bears.
var ErrNoScenario = errors.New("no such scenario")

//go:embed testdata/scenarios/*.txt
var scenarioFiles embed.FS

const scenarioFolder = "testdata/scenarios/"

// Scenario is one situation on a small floor, told in a text file: who stands where and wants what, what goes wrong
// when, and what must hold. It runs in the same world as the seeds do, and every law is checked after every step.
type Scenario struct {
	Name  string
	Title string
	About string
	Floor []string // rows of cells, as written
	Zones []string // rows of letters of the same shape; empty = one zone
	Cell  float64  // metres of a cell
	// Lockstep lets robots move together, once a second; Window is how many vertices one may lease ahead.
	Lockstep bool
	Window   int
	Parking  []string // cells on which a robot may rest; empty = all
	Robots   []Cast
	Tasks    []Errand
	Faults   []Fault
	Expects  []Expect
	Within   time.Duration // every task has ended by then

	places map[string]int // name -> cell
	cols   int
}

// Cast is one robot of a scenario.
type Cast struct {
	Name     string
	At       string  // cell
	Facing   float64 // radians
	SpeedMPS float64
	RadiusM  float64
	Foreign  bool // not under our control
}

// Errand is one task of a scenario.
type Errand struct {
	Name     string
	Robot    string // "" = whom the dispatcher chooses
	Visit    []string
	Priority uint8
	At       time.Duration
}

// Fault is something that happens at a time: a fault, or what an operator does.
type Fault struct {
	At, For time.Duration
	Kind    FaultKind
	Who     []string // robots, zones, cells or a task, as the kind wants
	Late    time.Duration
	Factor  float64
	Line    string // as written
}

// FaultKind is what can happen in a scenario.
type FaultKind uint8

// The kinds of faults, and the deeds of operators and clients.
const (
	ZoneSilent    FaultKind = iota // mail between the zone and its neighbours is lost
	ZoneFrozen                     // the zone decides nothing; its mail waits
	ZoneSlow                       // mail to and from its neighbours comes late
	ZoneRestart                    // its actor crashes and comes back with another epoch
	ProcessDown                    // every actor of the house crashes
	DispatchDown                   // the dispatcher crashes
	MailLost                       // mail between two zones is lost
	MailLate                       // mail between two zones comes late
	RobotStop                      // a fatal fault, mended after For
	RobotSilent                    // says nothing and hears nothing, drives what it was granted
	RobotSlow                      // moves take Factor times as long
	RobotReboot                    // forgets everything but where it stands
	RobotDrop                      // its link ends; it dials again
	RobotTaken                     // an operator takes it off the floor for good
	RobotPause                     // an operator pauses it
	RobotResume                    // an operator resumes it
	LaneClose                      // an operator closes the lanes between two cells, both ways
	LaneOpen                       // and opens them again
	KeepOut                        // an operator keeps robots out of cells; of none = lets them in again
	TaskCancelled                  // a client cancels a task
)

// Scenarios lists the names of the scenarios of the house, in alphabetical order.
func Scenarios() []string {
	entries, err := scenarioFiles.ReadDir(strings.TrimSuffix(scenarioFolder, "/"))
	if err != nil {
		return nil // it is part of the program
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".txt"))
	}
	slices.Sort(names)
	return names
}

// NamedScenario returns the scenario of this name, or ErrNoScenario.
func NamedScenario(name string) (*Scenario, error) {
	b, err := scenarioFiles.ReadFile(scenarioFolder + name + ".txt")
	if err != nil {
		return nil, fmt.Errorf("%w: %q", ErrNoScenario, name)
	}
	return ParseScenario(name, string(b))
}

// faultsEnd is when the last fault has ended.
func (sc *Scenario) faultsEnd() (end time.Duration) {
	for _, f := range sc.Faults {
		end = max(end, f.At+f.For)
	}
	for _, t := range sc.Tasks {
		end = max(end, t.At)
	}
	return end
}

// config is the world of the scenario: nothing goes wrong in it but what the scenario says.
func (sc *Scenario) config(seed uint64) Config {
	c := Config{
		Seed: seed, Lockstep: sc.Lockstep, Tenants: 1, Window: max(sc.Window, 1), Scenario: sc,
		Chaos: curtain + sc.faultsEnd() + time.Second, Journal: Journal{Commit: 5 * time.Millisecond},
	}
	c.Calm = max(sc.Within-sc.faultsEnd(), 0) + lastAct
	if sc.Lockstep { // the moment counts
		c.Journal, c.Window = Journal{}, 1
	}
	return c
}

// curtain is when a scenario begins, counted from the world's beginning: its robots have told where they stand by then.
// lastAct is how long it goes on after its bound.
const (
	curtain = 4 * time.Second
	lastAct = 5 * time.Second
)

// cell finds a cell by its name or as "column,row", counted from the top left corner.
func (sc *Scenario) cell(ref string) (int, error) {
	if c, ok := sc.places[ref]; ok {
		return c, nil
	}
	var col, row int
	if n, err := fmt.Sscanf(ref, "%d,%d", &col, &row); err != nil || n != 2 || col < 0 || col >= sc.cols || row < 0 || row >= len(sc.Floor) {
		return 0, fmt.Errorf("no cell %q", ref)
	}
	return row*sc.cols + col, nil
}

// Place finds a cell by its name or as "column,row": what robots, tasks and faults name.
func (sc *Scenario) Place(ref string) (col, row int, ok bool) {
	c, err := sc.cell(ref)
	if err != nil {
		return 0, 0, false
	}
	return c % sc.cols, c / sc.cols, true
}

// walls are the cells on which nobody stands; arrows are one-way cells.
const (
	walls  = "@#"
	arrows = "><^v"
)

// graph builds the floor: cells joined with their free neighbours, one-way cells with the next alone, and the zones.
func (sc *Scenario) graph(id fleet.MapID) (*roadmap.Graph, error) {
	rows := make([]string, len(sc.Floor))
	for r, row := range sc.Floor {
		b := []byte(row)
		for c := range b {
			b[c] = '.'
			if strings.IndexByte(walls, row[c]) >= 0 {
				b[c] = '@'
			}
		}
		rows[r] = string(b)
	}
	text := fmt.Sprintf("type octile\nheight %d\nwidth %d\nmap\n%s\n", len(rows), sc.cols, strings.Join(rows, "\n"))
	draft, report := roadmap.Import("movingai", []byte(text), sc.Cell)
	if draft == nil {
		return nil, fmt.Errorf("import the floor: %+v", report)
	}
	sc.oneWay(draft)
	if err := sc.divide(draft); err != nil {
		return nil, err
	}
	if len(sc.Parking) > 0 {
		for i := range draft.Vertices {
			draft.Vertices[i].Parking = false
		}
		for _, p := range sc.Parking {
			c, err := sc.cell(p)
			if err != nil {
				return nil, err
			}
			k := slices.IndexFunc(draft.Vertices, func(v roadmap.Vertex) bool { return v.ID == itoa(c) })
			if k < 0 {
				return nil, fmt.Errorf("parking %s is a wall", p)
			}
			draft.Vertices[k].Parking = true
		}
	}
	return roadmap.Build(draft, roadmap.BuildOptions{MapID: id, Version: 1, MaxZone: 1 << 20})
}

// oneWay leaves of each one-way cell the lane that its arrow shows.
func (sc *Scenario) oneWay(d *roadmap.Draft) {
	d.Lanes = slices.DeleteFunc(d.Lanes, func(l roadmap.Lane) bool {
		a, b := &d.Vertices[l.From], &d.Vertices[l.To]
		n := 0
		for _, r := range a.ID {
			n = n*10 + int(r-'0')
		}
		switch sc.Floor[n/sc.cols][n%sc.cols] {
		case '>':
			return b.X <= a.X
		case '<':
			return b.X >= a.X
		case '^':
			return b.Y <= a.Y
		case 'v':
			return b.Y >= a.Y
		}
		return false
	})
}

// divide makes an area of the rectangle of each letter.
func (sc *Scenario) divide(d *roadmap.Draft) error {
	type box struct{ x0, y0, x1, y1, cells int }
	boxes := map[byte]*box{}
	var letters []byte
	for r, row := range sc.Zones {
		for c := range row {
			b := boxes[row[c]]
			if b == nil {
				b = &box{c, r, c, r, 0}
				boxes[row[c]] = b
				letters = append(letters, row[c])
			}
			b.x0, b.y0, b.x1, b.y1 = min(b.x0, c), min(b.y0, r), max(b.x1, c), max(b.y1, r)
			b.cells++
		}
	}
	slices.Sort(letters)
	m, rows := sc.Cell, len(sc.Zones)
	for _, l := range letters {
		b := boxes[l]
		if b.cells != (b.x1-b.x0+1)*(b.y1-b.y0+1) {
			return fmt.Errorf("zone %c is no rectangle", l)
		}
		x0, x1 := float64(b.x0)*m, float64(b.x1+1)*m
		y0, y1 := float64(rows-1-b.y1)*m, float64(rows-b.y0)*m
		d.Areas = append(d.Areas, roadmap.Area{
			ID: fleet.ZoneID(string(l)), Name: string(l),
			Polygon: roadmap.Polygon{{x0, y0}, {x1, y0}, {x1, y1}, {x0, y1}, {x0, y0}},
		})
	}
	return nil
}
