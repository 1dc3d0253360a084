package congestion_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"starling/engine/congestion"
	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// floor is a grid of rows, in zones of so many cells.
func floor(t testing.TB, rows []string, zone int) *roadmap.Graph {
	t.Helper()
	text := fmt.Sprintf("type octile\nheight %d\nwidth %d\nmap\n%s\n", len(rows), len(rows[0]), strings.Join(rows, "\n"))
	d, report := roadmap.Import("movingai", []byte(text), 1)
	if d == nil {
		t.Fatal(report)
	}
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "00000000-0000-4000-8000-000000000001", Version: 1, MaxZone: zone})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func open(t testing.TB, width, height, zone int) *roadmap.Graph {
	t.Helper()
	return floor(t, slices.Repeat([]string{strings.Repeat(".", width)}, height), zone)
}

// crowd is a set of robots that wander at random, wait at random, fall silent, and tell of it all.
type crowd struct {
	g      *roadmap.Graph
	rng    *rand.Rand
	ids    []fleet.RobotID
	at     []fleet.Vertex
	goal   []fleet.ZoneID
	waits  []int
	seq    []uint64
	silent []int
	stuck  float64 // chance of each second to begin to wait
}

func newCrowd(g *roadmap.Graph, seed uint64, n int) *crowd {
	c := &crowd{g: g, rng: rand.New(rand.NewPCG(seed, 7)), stuck: 0.05}
	for i := range n {
		c.ids = append(c.ids, fleet.RobotID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i)))
		c.at = append(c.at, fleet.Vertex(c.rng.IntN(len(g.Vertices))))
		c.goal = append(c.goal, "")
		c.waits, c.seq, c.silent = append(c.waits, 0), append(c.seq, 0), append(c.silent, 0)
	}
	return c
}

// second appends what the robots say in one.
func (c *crowd) second(now time.Time, out []congestion.Sample) []congestion.Sample {
	for i := range c.at {
		if c.silent[i] > 0 {
			c.silent[i]--
			continue
		}
		if c.rng.Float64() < 0.002 {
			c.silent[i] = c.rng.IntN(120)
		}
		if c.goal[i] == "" && c.rng.Float64() < 0.1 {
			c.goal[i] = c.g.Zones[c.rng.IntN(len(c.g.Zones))].ID
		}
		m := congestion.Sample{
			Robot: c.ids[i], Boot: "b", MapVersion: 1, State: fleet.Moving, SamplingHz: 1, Located: true,
			At: now.Add(-time.Duration(c.rng.IntN(900)) * time.Millisecond), ReceivedAt: now,
		}
		switch {
		case c.waits[i] > 0:
			c.waits[i]--
			m.State, m.WaitingFor = fleet.Waiting, fleet.CauseOccupied
			if c.waits[i]%5 == 0 {
				m.WaitingFor = fleet.CauseAdmission
			}
		case c.goal[i] != "" && c.rng.Float64() < c.stuck:
			c.waits[i] = 1 + c.rng.IntN(20)
		case c.goal[i] != "":
			out := c.g.Out[c.at[i]]
			l := &c.g.Lanes[out[c.rng.IntN(len(out))]]
			c.at[i], m.VelocityMPS = l.To, 1
			if c.g.Zones[c.g.ZoneOf[l.To]].ID == c.goal[i] && c.rng.Float64() < 0.2 {
				c.goal[i] = ""
			}
		case c.rng.Float64() < 0.01:
			m.State = fleet.Error
		}
		v := &c.g.Vertices[c.at[i]]
		c.seq[i]++
		m.Seq, m.Vertex, m.X, m.Y, m.GoalZone, m.Zone = c.seq[i], c.at[i], v.X, v.Y, c.goal[i], c.g.Zones[c.g.ZoneOf[c.at[i]]].ID
		if c.goal[i] != "" {
			m.Lane = c.g.Lanes[c.g.Out[c.at[i]][0]].ID
		}
		if c.rng.Float64() < 0.01 {
			m.At = now.Add(-time.Duration(c.rng.IntN(60)) * time.Second) // a clock that is wrong
		}
		out = append(out, m)
	}
	return out
}

// live feeds a site as a process does: in the order in which statuses come, closing bins by the clock.
func live(s *congestion.Site, samples []congestion.Sample, end time.Time) []congestion.Score {
	var out []congestion.Score
	i := 0
	for now := samples[0].ReceivedAt; !now.After(end.Add(20 * time.Second)); now = now.Add(100 * time.Millisecond) {
		for ; i < len(samples) && !samples[i].ReceivedAt.After(now); i++ {
			s.Add(&samples[i])
		}
		for s.Due(now) {
			out = append(out, s.Close(now)...)
		}
	}
	return out
}

// The same statuses give the same scores to the last digit, live and replayed, in whatever order the robots come and with
// doubles among them.
func TestAReplayGivesTheSameFiguresToTheLastDigit(t *testing.T) {
	t.Parallel()
	g := floor(t, []string{"........@...", "........@...", "............", "...@@@@.....", "............", ".....@......"}, 12)
	rapid.Check(t, func(rt *rapid.T) {
		c := newCrowd(g, rapid.Uint64().Draw(rt, "seed"), rapid.IntRange(1, 30).Draw(rt, "robots"))
		now := t0.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(rt, "ms")) * time.Millisecond)
		var samples []congestion.Sample
		for range rapid.IntRange(1, 200).Draw(rt, "seconds") {
			samples = c.second(now, samples)
			now = now.Add(time.Second)
		}
		spec := congestion.SiteSpec{Graph: g, Settings: congestion.Usual()}
		s := congestion.NewSite(spec)
		want := live(s, samples, now)
		if n := s.Counts(); n.Late+n.Early+n.Dropped > 0 {
			rt.Fatalf("a site that was in time counts %+v", n)
		}
		// By robot, the robots in another order, some statuses twice.
		byRobot := map[fleet.RobotID][]congestion.Sample{}
		for i := range samples {
			byRobot[samples[i].Robot] = append(byRobot[samples[i].Robot], samples[i])
		}
		ids := make([]fleet.RobotID, 0, len(byRobot))
		for id := range byRobot {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		order := rapid.Permutation(ids).Draw(rt, "order")
		var mixed []congestion.Sample
		for _, id := range order {
			for k, m := range byRobot[id] {
				mixed = append(mixed, m)
				if k%7 == 3 {
					mixed = append(mixed, m)
				}
			}
		}
		var got []congestion.Score
		congestion.Replay(spec, nil, mixed, func(_ time.Time, scores []congestion.Score) { got = append(got, scores...) })
		// Whole minutes at once, robot by robot, bins closed late: when a bin is closed says nothing.
		slow, chunk := congestion.NewSite(spec), time.Duration(rapid.IntRange(1, 100).Draw(rt, "chunk"))*time.Second
		var late []congestion.Score
		for from := samples[0].ReceivedAt; from.Before(now); from = from.Add(chunk) {
			for _, id := range order {
				for i := range byRobot[id] {
					if m := &byRobot[id][i]; !m.ReceivedAt.Before(from) && m.ReceivedAt.Before(from.Add(chunk)) {
						slow.Add(m)
					}
				}
			}
			for slow.Due(from.Add(chunk)) {
				late = append(late, slow.Close(from.Add(chunk))...)
			}
		}
		for i := range min(len(late), len(want)) {
			if late[i] != want[i] {
				rt.Fatalf("closed late %+v\nlive        %+v", late[i], want[i])
			}
		}
		n := min(len(got), len(want)) // the live one closes bins after the last status too
		if n == 0 && now.Sub(t0) > time.Minute {
			rt.Fatal("nothing was scored")
		}
		for i := range n {
			if got[i] != want[i] {
				rt.Fatalf("replayed %+v\nlive     %+v", got[i], want[i])
			}
		}
	})
}

// What a site has learned survives JSON to the last digit, and another that was told it goes on as the first.
func TestWhatWasLearnedIsKept(t *testing.T) {
	t.Parallel()
	g := open(t, 20, 20, 100)
	c := newCrowd(g, 3, 60)
	first := congestion.NewSite(congestion.SiteSpec{Graph: g, Settings: congestion.Usual()})
	var samples []congestion.Sample
	now := t0
	for range 1800 {
		samples = c.second(now, samples)
		now = now.Add(time.Second)
	}
	live(first, samples, now)
	learned := first.Learned()
	if len(learned.Zones) != len(g.Zones) || len(learned.OfZones) == 0 || learned.Miss <= 0 || len(learned.Classes[congestion.Open].Diagram) == 0 {
		t.Fatalf("learned %+v", learned)
	}
	raw, err := json.Marshal(learned)
	if err != nil {
		t.Fatal(err)
	}
	var again congestion.Learned
	if err := json.Unmarshal(raw, &again); err != nil {
		t.Fatal(err)
	}
	second := congestion.NewSite(congestion.SiteSpec{Graph: g, Settings: congestion.Usual()})
	second.Learn(&again)
	if got := second.Learned(); !reflect.DeepEqual(got, learned) {
		t.Errorf("it came back as %+v\nwas          %+v", got, learned)
	}
	second.Learn(&congestion.Learned{}) // nothing hurts
	d, known := first.Diagram(g.Zones[0].ID)
	if !known || len(d.Own) == 0 || len(d.OfClass) == 0 || d.Critical <= 0 || d.Density <= 0 || d.Capacity != g.Zones[0].Capacity {
		t.Errorf("a zone's diagram is %+v", d)
	}
	if _, known := first.Diagram("nowhere"); known {
		t.Error("a zone that is none has a diagram")
	}
}

func samplesOf(tb testing.TB, robots, seconds int) (*roadmap.Graph, []congestion.Sample) {
	g := open(tb, 200, 195, 500)
	c := newCrowd(g, 1, robots)
	var samples []congestion.Sample
	for i := range seconds {
		samples = c.second(t0.Add(time.Duration(i)*time.Second), samples)
	}
	return g, samples
}

func TestAddingAllocatesNothing(t *testing.T) {
	g, samples := samplesOf(t, 500, 60)
	s := congestion.NewSite(congestion.SiteSpec{Graph: g, Settings: congestion.Usual()})
	live(s, samples[:len(samples)/2], t0.Add(20*time.Second)) // bins and robots are there
	i := len(samples) / 2
	if n := testing.AllocsPerRun(len(samples)/4, func() { s.Add(&samples[i]); i++ }); n != 0 {
		t.Errorf("%v allocations a status", n)
	}
}

// BenchmarkAdd measures a status of one of 10,000 robots, the bins' closing included. Statuses come in hands of a thousand that
// were just written, as from the telemetry writer.
func BenchmarkAdd(b *testing.B) {
	const seconds, hand = 60, 1000
	g, samples := samplesOf(b, 10_000, seconds)
	s := congestion.NewSite(congestion.SiteSpec{Graph: g, Settings: congestion.Usual()})
	batch := make([]congestion.Sample, hand)
	round, next := 0, 0
	fill := func() {
		for i := range batch {
			batch[i] = samples[next]
			m := &batch[i]
			later := time.Duration(round*seconds) * time.Second
			m.At, m.ReceivedAt, m.Seq = m.At.Add(later), m.ReceivedAt.Add(later), m.Seq+uint64(round*seconds)
			if next++; next == len(samples) {
				next, round = 0, round+1
			}
		}
	}
	runtime.GC() // what made the statuses is not to be paid here
	b.ReportAllocs()
	i, took := hand, time.Duration(0)
	for b.Loop() {
		if i == hand {
			b.StopTimer()
			fill()
			b.StartTimer()
			i = 0
			took -= cpu()
		}
		m := &batch[i]
		for s.Due(m.ReceivedAt) {
			s.Close(m.ReceivedAt)
		}
		s.Add(m)
		if i++; i == hand {
			took += cpu()
		}
	}
	if i < hand {
		took += cpu()
	}
	b.ReportMetric(float64(took)/float64(b.N), "cpu-ns/op") // where others share the cores
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
