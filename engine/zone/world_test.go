package zone_test

import (
	"fmt"
	"math"
	"math/rand"
	"os"
	"strings"
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/zone"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// grid builds a 4-connected graph from rows of '.' and '@', in square zones of the given edge.
func grid(rows []string, edge int) *roadmap.Graph {
	g := &roadmap.Graph{Rows: len(rows), Cols: len(rows[0]), ResM: 1}
	index := map[int]fleet.Vertex{}
	for r, row := range rows {
		for c := range row {
			if row[c] == '.' {
				index[r*g.Cols+c] = fleet.Vertex(len(g.Vertices))
				g.Vertices = append(g.Vertices, roadmap.Vertex{ID: fmt.Sprint(r*g.Cols + c), X: float64(c) + .5, Y: float64(g.Rows-r) - .5})
			}
		}
	}
	n := len(g.Vertices)
	g.Out, g.In, g.ZoneOf, g.Local = make([][]int32, n), make([][]int32, n), make([]int32, n), make([]int32, n)
	zones := map[[2]int]int32{}
	for cell := range g.Rows * g.Cols {
		v, ok := index[cell]
		if !ok {
			continue
		}
		r, c := cell/g.Cols, cell%g.Cols
		for k, d := range [][2]int{{0, 1}, {-1, 0}, {0, -1}, {1, 0}} {
			w, ok := index[(r+d[0])*g.Cols+c+d[1]]
			if !ok || c+d[1] < 0 || c+d[1] >= g.Cols {
				continue
			}
			l := int32(len(g.Lanes))
			g.Lanes = append(g.Lanes, roadmap.Lane{From: v, To: w, LengthM: 1, HeadingRad: float64(k) * math.Pi / 2})
			g.Out[v] = append(g.Out[v], l)
			g.In[w] = append(g.In[w], l)
		}
		key := [2]int{r / edge, c / edge}
		z, ok := zones[key]
		if !ok {
			z = int32(len(g.Zones))
			zones[key] = z
			g.Zones = append(g.Zones, roadmap.Zone{ID: fleet.ZoneID(fmt.Sprintf("zone-%02d-%02d", key[0], key[1])), Colour: key[0]%2*2 + key[1]%2})
		}
		zn := &g.Zones[z]
		g.ZoneOf[v], g.Local[v] = z, int32(len(zn.Vertices))
		zn.Vertices = append(zn.Vertices, v)
		zn.Capacity++
	}
	g.LayStreets()
	for key, z := range zones {
		for dr := -1; dr <= 1; dr++ {
			for dc := -1; dc <= 1; dc++ {
				if m, ok := zones[[2]int{key[0] + dr, key[1] + dc}]; ok && m != z {
					g.Zones[z].Neighbours = append(g.Zones[z].Neighbours, m)
				}
			}
		}
	}
	return g
}

// bot is a robot as the zones know it through its core: it asks, drives what it is granted, reports.
type bot struct {
	id      fleet.RobotID
	version uint64
	at      fleet.Vertex
	heading float64
	base    []fleet.Vertex
	halted  bool
	hint    fleet.Vertex
	radius  float64
	goal    fleet.Vertex
	since   time.Time
	busy    int // driving mode: steps until the present action ends
	done    int
	stuck   int // steps without a move while it has a goal
	worst   int
}

// world runs zones and robots; messages are delivered in order of sending, or shuffled by rng.
type world struct {
	t       testing.TB
	g       *roadmap.Graph
	zones   []*zone.State
	bots    []*bot
	byID    map[fleet.RobotID]*bot
	rng     *rand.Rand
	now     time.Time
	tick    uint64
	lock    bool
	mail    []letter
	lose    float64
	nextJob func(b *bot) fleet.Vertex
	grants  int
	domains int              // Leads sent
	leads   map[[2]int32]int // by zones
	views   map[int32]zone.View
	roster  map[[2]string]bool
}

type letter struct {
	zone int32
	msg  zone.Msg
	bot  *bot
	gr   *fleet.Grant
}

func newWorld(t testing.TB, g *roadmap.Graph, lock bool, seed int64) *world {
	w := &world{t: t, g: g, rng: rand.New(rand.NewSource(seed)), now: t0, lock: lock, byID: map[fleet.RobotID]*bot{}, roster: map[[2]string]bool{}, views: map[int32]zone.View{}, leads: map[[2]int32]int{}}
	tb := roadmap.NewTableMap(g, len(g.Vertices))
	for z := range g.Zones {
		w.zones = append(w.zones, zone.New(g, z, tb, zone.Rules{Lockstep: lock}, 1, 1))
	}
	return w
}

func (w *world) add(at fleet.Vertex) *bot {
	b := &bot{id: fleet.RobotID(fmt.Sprintf("robot-%04d", len(w.bots))), at: at, hint: fleet.NoVertex, goal: fleet.NoVertex, radius: 0.3}
	w.bots = append(w.bots, b)
	w.byID[b.id] = b
	return b
}

func (w *world) ask(b *bot) {
	b.version++
	tail := b.at
	if n := len(b.base); n > 0 {
		tail = b.base[n-1]
	}
	w.post(letter{zone: w.g.ZoneOf[tail], msg: zone.Asked{Request: fleet.Request{
		Robot: b.id, Version: b.version, At: b.at, Heading: b.heading, Base: append([]fleet.Vertex(nil), b.base...), Goal: b.goal,
		Tasked: b.goal != fleet.NoVertex, Since: b.since, Window: w.window(), SpeedMPS: 1, RadiusM: b.radius, Halted: b.halted,
	}}})
}

func (w *world) report(b *bot, from fleet.Vertex) {
	b.version++
	a := zone.Arrived{Arrival: fleet.Arrival{Robot: b.id, Vertex: b.at, Heading: b.heading, At: w.now, Version: b.version}}
	w.post(letter{zone: w.g.ZoneOf[b.at], msg: a})
	if z := w.g.ZoneOf[from]; z != w.g.ZoneOf[b.at] {
		w.post(letter{zone: z, msg: a})
	}
}

func (w *world) post(l letter) { w.mail = append(w.mail, l) }

// settle delivers mail until there is none.
func (w *world) settle() {
	for n := 0; len(w.mail) > 0; n++ {
		if n > 2_000_000 {
			w.t.Fatal("the zones do not stop talking")
		}
		i := 0
		if w.lose > 0 { // reorder within a window, lose some
			i = w.rng.Intn(min(len(w.mail), 3))
		}
		l := w.mail[i]
		w.mail = append(w.mail[:i], w.mail[i+1:]...)
		if l.bot != nil {
			w.granted(l.bot, l.gr)
			continue
		}
		w.perform(l.zone, w.zones[l.zone].Decide(w.now, l.msg, nil))
	}
}

func (w *world) zoneNo(id fleet.ZoneID) int32 {
	for i := range w.g.Zones {
		if w.g.Zones[i].ID == id {
			return int32(i)
		}
	}
	w.t.Fatalf("no zone %s", id)
	return -1
}

func (w *world) perform(z int32, effects []zone.Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case zone.RecordEntry:
			w.roster[[2]string{string(w.g.Zones[z].ID), string(e.Entry.Robot)}] = true
			w.post(letter{zone: z, msg: zone.EntryRecorded{Robot: e.Entry.Robot, Number: e.Number}})
		case zone.RecordExit:
			delete(w.roster, [2]string{string(w.g.Zones[z].ID), string(e.Robot)})
		case zone.SendGrant:
			if !w.roster[[2]string{string(w.g.Zones[z].ID), string(e.Grant.Robot)}] {
				w.t.Fatalf("%s granted without a roster entry", e.Grant.Robot)
			}
			w.post(letter{bot: w.byID[e.Grant.Robot], gr: &e.Grant})
		case zone.SendLead:
			w.domains++
			w.leads[[2]int32{z, w.zoneNo(e.Lead.To)}]++
			w.post(letter{zone: w.zoneNo(e.Lead.To), msg: zone.Led{Lead: e.Lead}})
		case zone.SendLend:
			w.post(letter{zone: w.zoneNo(e.Lend.To), msg: zone.Lent{Lend: e.Lend}})
		case zone.SendAdvice:
			w.post(letter{zone: w.zoneNo(e.Advice.To), msg: zone.Advised{Advice: e.Advice}})
		case zone.SendToken:
			if w.lose == 0 || w.rng.Float64() > w.lose {
				w.post(letter{zone: w.zoneNo(e.Token.To), msg: zone.TokenReceived{Token: e.Token}})
			}
		case zone.SendAnswer:
			if w.lose == 0 || w.rng.Float64() > w.lose {
				w.post(letter{zone: w.zoneNo(e.Answer.To), msg: zone.Answered{Answer: e.Answer}})
			}
		case zone.Show:
			w.views[z] = e.View
		case zone.SendRefusal, zone.CallRoll:
		}
	}
}

func (w *world) granted(b *bot, gr *fleet.Grant) {
	if len(gr.Vertices) == 0 {
		if gr.After == b.at && len(b.base) == 0 {
			b.hint = gr.Horizon[0]
		}
		return
	}
	path := append([]fleet.Vertex{b.at}, b.base...)
	for i, v := range path {
		if v != gr.After {
			continue
		}
		rest := path[i+1:]
		n := min(len(rest), len(gr.Vertices))
		for k := range n {
			if rest[k] != gr.Vertices[k] {
				w.ask(b)
				return
			}
		}
		if len(gr.Vertices) > n {
			b.base = append(append([]fleet.Vertex(nil), b.base...), gr.Vertices[n:]...)
			w.grants += len(gr.Vertices) - n
		}
		return
	}
	w.ask(b)
}

// step runs one second: tick(s), then the robots act.
func (w *world) step() {
	ticks := 1
	if !w.lock {
		ticks = 4
	}
	for range ticks {
		w.tick++
		w.now = w.now.Add(time.Second / time.Duration(ticks))
		for _, z := range w.rng.Perm(len(w.zones)) {
			w.post(letter{zone: int32(z), msg: zone.Ticked{Tick: w.tick, LeaseUntil: fleet.Far}})
		}
		w.settle()
	}
	w.act()
	w.check()
	w.settle()
}

func (w *world) act() {
	for _, b := range w.bots {
		b.stuck++
		towards := b.hint
		if len(b.base) > 0 {
			towards = b.base[0]
		}
		if towards == fleet.NoVertex {
			continue
		}
		if b.busy > 0 {
			b.busy--
			continue
		}
		lane, ok := w.g.Lane(b.at, towards)
		if !ok {
			w.t.Fatalf("%s was granted %d, which is no neighbour of %d", b.id, towards, b.at)
		}
		if h := w.g.Lanes[lane].HeadingRad; math.Abs(h-b.heading) > 0.1 {
			if d := math.Mod(h-b.heading+2*math.Pi, 2*math.Pi); d > math.Pi+0.1 {
				b.heading = math.Mod(b.heading-math.Pi/2+2*math.Pi, 2*math.Pi)
			} else {
				b.heading = math.Mod(b.heading+math.Pi/2, 2*math.Pi)
			}
			w.report(b, b.at)
			continue
		}
		if len(b.base) == 0 {
			continue
		}
		from := b.at
		b.hint = fleet.NoVertex
		b.at, b.base = b.base[0], b.base[1:]
		b.worst, b.stuck = max(b.worst, b.stuck), 0
		if !w.lock {
			b.busy = w.rng.Intn(2)
		}
		w.report(b, from)
	}
	for _, b := range w.bots {
		if b.at == b.goal || b.goal == fleet.NoVertex {
			if b.goal != fleet.NoVertex {
				b.done++
			}
			b.stuck = 0
			if g := w.nextJob(b); g != b.goal {
				b.goal, b.since = g, w.now
				w.ask(b)
			}
		}
	}
}

// check holds the robots' real positions against law 2.
func (w *world) check() {
	at := map[fleet.Vertex]fleet.RobotID{}
	for _, b := range w.bots {
		if o, ok := at[b.at]; ok {
			w.t.Fatalf("tick %d: %s and %s both on %s", w.tick, o, b.id, w.g.Vertices[b.at].ID)
		}
		at[b.at] = b.id
	}
}

func randomMap(t testing.TB) []string {
	b, err := os.ReadFile("../../testdata/lorr/random_100/random-32-32-20.map")
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSpace(string(b)), "\n")[4:]
	for i := range rows {
		rows[i] = strings.TrimRight(rows[i], "\r")
	}
	return rows
}

func (w *world) window() int {
	if w.lock {
		return 1
	}
	return 2
}
