package alerts_test

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"starling/bench/alerts"
	"starling/engine/congestion"
	"starling/engine/fleet"
	"starling/engine/roadmap"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func floor(t *testing.T) *roadmap.Graph {
	t.Helper()
	rows := slices.Repeat([]string{strings.Repeat(".", 20)}, 20)
	d, report := roadmap.Import("movingai", fmt.Appendf(nil, "type octile\nheight 20\nwidth 20\nmap\n%s\n", strings.Join(rows, "\n")), 1)
	if d == nil {
		t.Fatal(report)
	}
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "00000000-0000-4000-8000-000000000001", Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// jam is an hour of thirty robots in one zone, of which more and more wait from minute 20 to 40. Of one the clock is behind by half
// a minute.
func jam(g *roadmap.Graph) (out []congestion.Sample) {
	for second := range 3600 {
		now := t0.Add(time.Duration(second) * time.Second)
		waiting := 0
		if minute := second / 60; minute >= 20 && minute < 40 {
			waiting = min(30, 5*(minute-19))
		}
		for i := range 30 {
			v := g.Zones[0].Vertices[i]
			at := &g.Vertices[v]
			m := congestion.Sample{
				Robot: fleet.RobotID(fmt.Sprint("r", i)), Boot: "b", Seq: uint64(second + 1), At: now, ReceivedAt: now.Add(50 * time.Millisecond), Vertex: v,
				GoalZone: g.Zones[0].ID, State: fleet.Moving, X: at.X + float64(second%2), Y: at.Y, Located: true, VelocityMPS: 1, SamplingHz: 1,
			}
			if i < waiting {
				m.State, m.WaitingFor, m.X, m.VelocityMPS = fleet.Waiting, fleet.CauseOccupied, at.X, 0
			}
			if i == 29 {
				m.At = now.Add(-30 * time.Second)
			}
			out = append(out, m)
		}
	}
	return out
}

func run(g *roadmap.Graph, o alerts.Options, samples []congestion.Sample, marks []congestion.Marked) alerts.Report {
	o.Graph = g
	if o.Settings == (congestion.Settings{}) {
		o.Settings = congestion.Usual()
	}
	c := alerts.New(o)
	for i := range samples {
		c.Add(&samples[i])
	}
	return c.Report(marks)
}

func TestAJamIsFoundAndThresholdsAreHeldAgainstIt(t *testing.T) {
	t.Parallel()
	g := floor(t)
	samples := jam(g)
	r := run(g, alerts.Options{}, samples, nil)
	l1 := r.Levels[0]
	if r.Statuses != len(samples) || r.Late != 0 || r.Zones != len(g.Zones) || r.Bins < 355 || l1.Jams != 1 || l1.Caught != 1 || l1.Alerts != 1 || l1.Precision != 1 || l1.Lead <= 0 {
		t.Fatalf("%+v", r)
	}
	if len(r.Sweep) != len(alerts.DefaultSweep()) || r.Best() == 0 {
		t.Fatalf("swept %+v", r.Sweep)
	}
	for i, p := range r.Sweep[1:] {
		if p.Lead > r.Sweep[i].Lead {
			t.Errorf("at %.2f an alert comes %v before the jam, at %.2f %v", p.Threshold, p.Lead, r.Sweep[i].Threshold, r.Sweep[i].Lead)
		}
	}
	// People know better: there was nothing wrong, but something else was missed.
	zone := func(i int) congestion.Subject {
		return congestion.Subject{Of: congestion.OfZone, ID: string(g.Zones[i].ID)}
	}
	marked := run(g, alerts.Options{}, samples, []congestion.Marked{{Subject: zone(0), At: t0.Add(30 * time.Minute)}, {Subject: zone(1), At: t0.Add(10 * time.Minute), Missed: true}})
	if v := marked.Levels[0]; v.Precision != 0 || v.Recall != 0.5 || v.Marks != 2 {
		t.Errorf("with what people say: %+v", v)
	}
	var text bytes.Buffer
	if err := r.Write(&text); err != nil || !strings.Contains(text.String(), "1 of 1") || !strings.Contains(text.String(), "L1 at 0.30") {
		t.Errorf("%v, printed\n%s", err, text.String())
	}
	if svg := r.Chart("t").SVG(); !bytes.Contains(svg, []byte("recall")) || bytes.Contains(svg, []byte("NaN")) {
		t.Errorf("drawn %s", svg)
	}
}

// Statuses that come in the order of their robots' clocks, as a replay of Kafka tells them, say the same as in the order in which they were
// received.
func TestTheOrderOfClocksSaysTheSame(t *testing.T) {
	t.Parallel()
	g := floor(t)
	want := run(g, alerts.Options{}, jam(g), nil)
	byClock := jam(g)
	slices.SortStableFunc(byClock, func(a, b congestion.Sample) int { return a.At.Compare(b.At) })
	if got := run(g, alerts.Options{}, byClock, nil); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	half := run(g, alerts.Options{From: t0.Add(45 * time.Minute), To: t0.Add(50 * time.Minute), Sweep: []float64{}}, jam(g), nil)
	if half.Bins != 31 || half.Levels[0].Jams != 0 || len(half.Sweep) != 0 {
		t.Errorf("of a quiet window: %+v", half)
	}
}
