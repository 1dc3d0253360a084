package alert

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"starling/engine/fleet"
)

var (
	start  = time.Date(2026, 11, 28, 6, 0, 0, 0, time.UTC)
	person = fleet.Actor{User: "00000000-0000-4000-8000-0000000000aa"}
)

// rig is a core with a store that records at once, and a clock.
type rig struct {
	t      testing.TB
	s      *State
	now    time.Time
	seed   uint64
	rows   map[ID]View // as a store keeps them
	events []Event
	asked  []string // remedies to be undone
	last   Reply
}

func newRig(t testing.TB) *rig {
	return &rig{t: t, s: New(1), now: start, seed: 1, rows: map[ID]View{}}
}

func (r *rig) say(m Msg) {
	for _, f := range r.s.Decide(r.now, m, nil) {
		switch f := f.(type) {
		case Record:
			r.s.Apply(f.Event)
			r.keep(f.Event)
		case Reply:
			r.last = f
		case UndoRemedy:
			r.asked = append(r.asked, f.Remedy.ID)
		case WakeAt:
		}
	}
}

func (r *rig) keep(e Event) {
	v := r.rows[e.After.ID]
	if e.After.Version != v.Version+1 || e.Step.Seq != e.After.Version {
		r.t.Fatalf("event %+v follows version %d", e, v.Version)
	}
	v.Alert = e.After
	if e.Step.Action.Handles() {
		v.Handling = append(v.Handling, e.Step)
	}
	r.rows[e.After.ID] = v
	r.events = append(r.events, e)
}

// crash starts a new life from what the store has.
func (r *rig) crash() {
	r.seed++
	r.s = New(r.seed)
	var list []View
	for _, id := range slices.Sorted(maps.Keys(r.rows)) {
		v := r.rows[id]
		if v.Status != Resolved || v.Unsettled() || r.now.Sub(v.ResolvedAt) < time.Hour {
			list = append(list, v)
		}
	}
	r.s.Restore(list)
	r.say(Restored{})
}

func (r *rig) review(feed string, list ...Condition) {
	r.say(Reviewed{Reviews: []Review{{Feed: feed, Conditions: list}}})
}

// hold reviews the same conditions each second for d.
func (r *rig) hold(d time.Duration, list ...Condition) {
	for end := r.now.Add(d); r.now.Before(end); r.now = r.now.Add(time.Second) {
		r.review(FeedCongestion, list...)
	}
}

func (r *rig) command(id ID, c Command) Outcome {
	r.say(Commanded{Alert: id, Command: c, By: person})
	return r.last.Outcome
}

// only is the one alert that there is.
func (r *rig) only() View {
	r.t.Helper()
	if len(r.rows) != 1 {
		r.t.Fatalf("there are %d alerts, want one", len(r.rows))
	}
	for _, v := range r.rows {
		return v
	}
	return View{}
}

func (r *rig) actions() (list []Action) {
	for _, e := range r.events {
		list = append(list, e.Step.Action)
	}
	return list
}

func jam(l Level) Condition {
	return Condition{Subject: Subject{SubjectZone, "z1"}, Cause: Congestion, Level: l, Message: "zone z1 jams", Details: json.RawMessage(`{"index":0.5}`)}
}

func TestLifeOfAnAlert(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hold(9*time.Second, jam(L1))
	if len(r.rows) != 0 {
		t.Fatal("it was opened before its dwell")
	}
	r.hold(5*time.Second, jam(L1))
	if v := r.only(); v.Status != Open || v.Level != L1 || v.Count != 1 || !v.OpenedAt.Equal(start.Add(10*time.Second)) || v.Message != "zone z1 jams" {
		t.Fatalf("opened as %+v", v.Alert)
	}
	r.hold(15*time.Second, jam(L2))
	r.hold(15*time.Second, jam(L3))
	r.hold(150*time.Second, jam(L1))
	r.hold(59 * time.Second)
	r.hold(3*time.Second, jam(L1))
	r.hold(63 * time.Second)
	want := []Action{ActOpen, ActRaise, ActRaise, ActLower, ActLower, ActCount, ActResolve}
	if got := r.actions(); !slices.Equal(got, want) {
		t.Fatalf("its life was %v, want %v", got, want)
	}
	v := r.only()
	if v.Status != Resolved || v.Resolution != Cleared || v.Peak != L3 || v.Level != L1 || v.Count != 2 {
		t.Fatalf("it ended as %+v", v.Alert)
	}
	r.hold(20*time.Second, jam(L2))
	if v := r.only(); v.Status != Open || v.Level != L2 || v.Count != 3 || r.actions()[7] != ActReopen {
		t.Fatalf("its signal came back soon: %+v", v.Alert)
	}
	r.hold(61 * time.Second)
	r.hold(301 * time.Second)
	r.hold(20*time.Second, jam(L1))
	if len(r.rows) != 2 {
		t.Fatalf("after the cool-down there are %d alerts, want a second one", len(r.rows))
	}
}

// A signal that comes and goes too fast to be cleared is lowered all the same.
func TestWhatFlickersFarBelowIsLowered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hold(11*time.Second, jam(L3))
	for range 5 {
		r.hold(20 * time.Second)
		r.hold(20*time.Second, jam(L1))
	}
	if v := r.only(); v.Status != Open || v.Level != L1 || v.Peak != L3 {
		t.Fatalf("after minutes at L1 or none it is %+v", v.Alert)
	}
	r.hold(61 * time.Second)
	r.hold(11*time.Second, jam(L2)) // it comes back
	r.hold(30*time.Second, jam(L1))
	if v := r.only(); v.Status != Open || v.Level != L2 {
		t.Fatalf("what was before it was resolved counts against it: %+v", v.Alert)
	}
}

func TestAPersonsResolutionHoldsForTheCoolDown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hold(11*time.Second, jam(L2))
	id := r.only().ID
	if o := r.command(id, Resolve{Text: "seen"}); o != Done {
		t.Fatalf("resolve: %v", o)
	}
	r.hold(299*time.Second, jam(L2))
	if v := r.only(); v.Status != Resolved || v.Resolution != ByPerson {
		t.Fatalf("within the cool-down it is %+v", v.Alert)
	}
	r.hold(5*time.Second, jam(L2))
	if v := r.only(); v.Status != Open || v.Count != 2 {
		t.Fatalf("what stays comes back after the cool-down: %+v", v.Alert)
	}
	r.command(id, Resolve{})
	r.hold(70 * time.Second)
	r.hold(15*time.Second, jam(L1))
	if v := r.only(); v.Status != Open || v.Count != 3 {
		t.Fatalf("what was away and has returned opens at once: %+v", v.Alert)
	}
}

func TestHandling(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hold(11*time.Second, jam(L3))
	id := r.only().ID
	r.now = r.now.Add(5 * time.Minute)
	r.say(Woke{})
	if v := r.only(); v.Escalations != 1 {
		t.Fatalf("L3 unacknowledged for 5 minutes: %d escalations", v.Escalations)
	}
	until := r.now.Add(20 * time.Minute)
	for _, step := range []struct {
		c    Command
		want Outcome
	}{
		{Snooze{Until: until}, Done},
		{Snooze{Until: until}, Done},
		{Assign{To: person.User}, Done},
		{Comment{Text: "on my way\x00"}, Done},
		{SetMark{Mark: Right}, Done},
		{Rollback{}, Done},
		{Rollback{}, Conflict},
		{Snooze{Until: until}, Done},
	} {
		if o := r.command(id, step.c); o != step.want {
			t.Fatalf("%#v: outcome %v, want %v", step.c, o, step.want)
		}
	}
	r.now = r.now.Add(15 * time.Minute)
	r.say(Woke{})
	if v := r.only(); v.Escalations != 1 {
		t.Fatal("it was called out while it was snoozed")
	}
	r.now = until
	r.say(Woke{})
	if o := r.command(id, Acknowledge{}); o != Done {
		t.Fatalf("acknowledge: %v", o)
	}
	r.now = r.now.Add(time.Hour)
	r.say(Woke{})
	v := r.only()
	if v.Status != Acknowledged || v.AcknowledgedBy != person || v.Escalations != 1 || v.Assignee != "" || v.Mark != Right {
		t.Fatalf("handled, it is %+v", v.Alert)
	}
	if got := v.Handling[4]; got.Action != ActComment || got.By != person || got.Details.Text != "on my way" {
		t.Fatalf("the comment is on record as %+v", got)
	}
	if got := v.Handling[6].Details.TakenBack; !slices.Equal(got, []string{tookAssignee, tookSnooze}) {
		t.Fatalf("the rollback has taken back %v", got)
	}
	if o := r.command("nobody", Acknowledge{}); o != NotFound {
		t.Fatalf("an unknown alert: %v", o)
	}
	r.command(id, Resolve{})
	for _, c := range []Command{Acknowledge{}, Assign{To: "x"}, Snooze{Until: r.now.Add(time.Hour)}} {
		if o := r.command(id, c); o != Conflict {
			t.Fatalf("%#v of a resolved alert: %v", c, o)
		}
	}
}

func TestARollbackIsAskedForUntilItIsDone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hold(11*time.Second, jam(L2))
	id := r.only().ID
	apply := RemedyApplied{Subject: jam(L1).Subject, Cause: Congestion, Remedy: Remedy{ID: "cap", Kind: "cap_admission", Automatic: true}}
	r.say(apply)
	r.say(apply)
	r.say(RemedyMeasured{Remedy: "cap", Measured: "queue 9 -> 4"})
	r.command(id, Acknowledge{})
	r.command(id, Resolve{})
	r.now = r.now.Add(2 * time.Hour) // however long ago: the remedy is in force
	r.say(Woke{})
	if o := r.command(id, Rollback{Text: "worse"}); o != Done {
		t.Fatalf("rollback: %v", o)
	}
	if v := r.only(); v.Status != Open || len(v.Remedies) != 1 || v.Remedies[0].State != Undoing || v.Remedies[0].Measured == "" {
		t.Fatalf("rolled back, it is %+v", v.Alert)
	}
	r.crash()
	r.now = r.now.Add(11 * time.Second)
	r.say(Woke{})
	if !slices.Equal(r.asked, []string{"cap", "cap", "cap"}) {
		t.Fatalf("asked to undo %v, want once at the rollback, once in the next life and once more", r.asked)
	}
	r.say(RemedyUndone{Remedy: "cap", Reason: "rolled back"})
	r.now = r.now.Add(time.Minute)
	r.say(Woke{})
	if v := r.only(); len(r.asked) != 3 || v.Remedies[0].State != Undone {
		t.Fatalf("undone, it is asked again: %v, %+v", r.asked, v.Alert)
	}
	r.say(RemedyUndone{Remedy: "nothing"})
	if r.last.Outcome != NotFound {
		t.Fatalf("an unknown remedy: %v", r.last.Outcome)
	}
}

// A signal that is noise around a threshold makes one alert, which does not flap.
func TestNoiseMakesOneAlert(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		centre := rapid.Float64Range(0.25, 0.55).Draw(rt, "centre")
		width := rapid.Float64Range(0.005, 0.2).Draw(rt, "width")
		minutes := rapid.IntRange(5, 20).Draw(rt, "minutes")
		rng := rand.New(rand.NewPCG(seed, 1))
		r := newRig(t)
		rule := DefaultRule(Congestion)
		quiet := time.Duration(0) // the longest time without signal
		since := start
		for range minutes * 60 {
			var list []Condition
			switch x := centre + width*(rng.Float64()*2-1); {
			case x >= 0.60:
				list = append(list, jam(L3))
			case x >= 0.45:
				list = append(list, jam(L2))
			case x >= 0.30:
				list = append(list, jam(L1))
			}
			if len(list) > 0 {
				since = r.now
			}
			quiet = max(quiet, r.now.Sub(since))
			r.review(FeedCongestion, list...)
			r.now = r.now.Add(time.Second)
		}
		if len(r.rows) > 1 {
			rt.Fatalf("noise made %d alerts", len(r.rows))
		}
		var changed time.Time
		for _, e := range r.events {
			switch a := e.Step.Action; {
			case a == ActResolve, a == ActReopen:
				if quiet < rule.Clear {
					rt.Fatalf("it was %v though its signal was never away for longer than %v", a, quiet)
				}
			case a == ActLower:
				if e.Step.At.Sub(changed) < rule.Lower {
					rt.Fatalf("lowered %v after its last change", e.Step.At.Sub(changed))
				}
				changed = e.Step.At
			case a == ActOpen, a == ActRaise:
				changed = e.Step.At
			}
		}
		if n := minutes*60/int(rule.Clear/time.Second)*3 + 8; len(r.events) > n {
			rt.Fatalf("%d events in %d minutes, want at most %d: %v", len(r.events), minutes, n, r.actions())
		}
	})
}

// simulate runs many subjects, people and crashes, and checks the laws after each step.
func simulate(t testing.TB, seed uint64, steps int) *rig {
	rng := rand.New(rand.NewPCG(seed, 2))
	r := newRig(t)
	level := map[int]Level{}
	for step := range steps {
		r.now = r.now.Add(time.Duration(rng.IntN(4000)) * time.Millisecond)
		switch n := rng.IntN(100); {
		case n < 70:
			r.simulateReview(rng, level)
		case n < 90:
			r.simulateCommand(rng)
		case n < 94:
			r.say(Woke{})
		case n < 96:
			for _, id := range r.asked {
				r.say(RemedyUndone{Remedy: id, Reason: "done"})
			}
			r.asked = nil
		case n < 97:
			r.now = r.now.Add(time.Duration(rng.IntN(900)) * time.Second)
		case n < 98:
			r.say(MissReported{Subject: Subject{SubjectZone, "z0"}, Cause: Congestion, Level: L2, From: r.now.Add(-time.Hour), To: r.now, Text: "jam", By: person})
		case n < 99:
			r.say(RulesChanged{Rules: Rules{Version: int64(step), Causes: map[Cause]Rule{Congestion: {Dwell: time.Duration(rng.IntN(30)) * time.Second, Off: rng.IntN(20) == 0}}}})
		default:
			r.crash()
		}
		r.check(fmt.Sprintf("seed %d step %d", seed, step), step%5 == 0)
	}
	return r
}

func (r *rig) simulateReview(rng *rand.Rand, level map[int]Level) {
	feeds := []string{FeedCongestion, FeedRobots}
	var m Reviewed
	for f, feed := range feeds {
		var list []Condition
		for i := range 6 {
			k := f*6 + i
			if rng.IntN(4) == 0 {
				level[k] = Level(rng.IntN(4))
			}
			c := jam(level[k])
			if f == 1 {
				c.Cause, c.Subject.Type = RobotStuck, SubjectRobot
			}
			c.Subject.ID = fmt.Sprintf("z%d", i)
			list = append(list, c)
		}
		m.Reviews = append(m.Reviews, Review{Feed: feed, Conditions: list})
	}
	r.say(m)
}

func (r *rig) simulateCommand(rng *rand.Rand) {
	ids := slices.Sorted(maps.Keys(r.rows))
	if len(ids) == 0 {
		return
	}
	id := ids[rng.IntN(len(ids))]
	if rng.IntN(4) == 0 {
		r.say(RemedyApplied{Alert: id, Remedy: Remedy{ID: fmt.Sprintf("r%d", rng.IntN(1<<30))}, By: fleet.Actor{Part: "congestion"}})
		return
	}
	list := []Command{
		Acknowledge{},
		Assign{To: fleet.UserID(fmt.Sprint("u", rng.IntN(3)))},
		Comment{Text: "x"},
		Snooze{Until: r.now.Add(time.Duration(rng.IntN(600)-60) * time.Second)},
		Resolve{},
		Rollback{},
		SetMark{Mark: Marks()[rng.IntN(3)]},
	}
	c := list[rng.IntN(len(list))]
	if r.command(id, c) == NotFound {
		v := r.rows[id]
		r.say(Commanded{Alert: id, Command: c, By: person, Loaded: &v})
		if r.last.Outcome == NotFound {
			r.t.Fatalf("alert %s was loaded and is not known", id)
		}
	}
}

// check holds the core to its laws.
func (r *rig) check(where string, whole bool) {
	r.t.Helper()
	open := map[key]ID{}
	n := 0
	for id, v := range r.rows {
		if v.Status == Resolved {
			if v.ResolvedAt.IsZero() || v.Resolution == "" {
				r.t.Fatalf("%s: resolved without time or way: %+v", where, v.Alert)
			}
			continue
		}
		n++
		if other, twice := open[v.key()]; twice {
			r.t.Fatalf("%s: alerts %s and %s of %v are both open", where, id, other, v.key())
		}
		open[v.key()] = id
		if (v.Status == Acknowledged) == v.AcknowledgedAt.IsZero() || v.Resolution != "" || v.Level == NoLevel || v.Peak < v.Level {
			r.t.Fatalf("%s: contradicts itself: %+v", where, v.Alert)
		}
	}
	if r.s.Open() != n {
		r.t.Fatalf("%s: counts %d open alerts of %d", where, r.s.Open(), n)
	}
	if !whole {
		return
	}
	r.s.Each(func(v *View) {
		if want := r.rows[v.ID]; !reflect.DeepEqual(v.Alert, want.Alert) {
			r.t.Fatalf("%s: the core has\n%+v, the store\n%+v", where, v.Alert, want.Alert)
		}
	})
}

func TestSimulation(t *testing.T) {
	t.Parallel()
	seeds := uint64(60)
	if testing.Short() {
		seeds = 10
	}
	events := 0
	for seed := range seeds {
		r := simulate(t, seed, 300)
		events += len(r.events)
		// The last word: what was to be undone is undone, and with all signals away everything clears.
		for _, id := range r.asked {
			r.say(RemedyUndone{Remedy: id})
		}
		r.say(RulesChanged{})
		for range 200 {
			r.now = r.now.Add(time.Second)
			r.say(Reviewed{Reviews: []Review{{Feed: FeedCongestion}, {Feed: FeedRobots}}})
		}
		if r.s.Open() != 0 {
			t.Fatalf("seed %d: %d alerts stay open with nothing wrong", seed, r.s.Open())
		}
	}
	if events == 0 {
		t.Fatal("nothing happened")
	}
	t.Logf("%d seeds, %d events", seeds, events)
}

func TestOneSeedIsOneRun(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		a, b := simulate(t, seed, 300), simulate(t, seed, 300)
		if !reflect.DeepEqual(a.events, b.events) {
			t.Fatalf("seed %d: two runs differ", seed)
		}
	}
}

// Folding the recorded events gives what the live core has.
func TestReplayEqualsLive(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		live := simulate(t, seed, 300)
		again := New(9)
		for _, e := range live.events {
			again.Apply(e)
		}
		live.s.Each(func(v *View) {
			w, ok := again.Get(v.ID)
			if !ok || !reflect.DeepEqual(*v, w) {
				t.Fatalf("seed %d: replayed\n%+v, live\n%+v", seed, w, *v)
			}
		})
		if again.Open() != live.s.Open() {
			t.Fatalf("seed %d: %d open alerts replayed, %d live", seed, again.Open(), live.s.Open())
		}
	}
}

func TestOpenAlertsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var list []Condition
	for i := range MaxOpen + 7 {
		c := jam(L1)
		c.Subject.ID = fmt.Sprint(i)
		list = append(list, c)
	}
	r.hold(20*time.Second, list...)
	if r.s.Open() != MaxOpen || r.s.Dropped() != 7 {
		t.Fatalf("%d open, %d dropped, want %d and 7", r.s.Open(), r.s.Dropped(), MaxOpen)
	}
}

func BenchmarkReview(b *testing.B) {
	s := New(1)
	var list []Condition
	for i := range 100 {
		c := jam(L2)
		c.Subject.ID = fmt.Sprint(i)
		list = append(list, c)
	}
	now, m := start, Reviewed{Reviews: []Review{{Feed: FeedCongestion, Conditions: list}}}
	var out []Effect
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Second)
		for _, f := range s.Decide(now, m, out[:0]) {
			if rec, ok := f.(Record); ok {
				s.Apply(rec.Event)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/condition")
}

// What flickers counts for as much as it is there, and two feeds that see the same thing make one alert.
func TestWhatFlickersCountsAsMuchAsItIsThere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 12 { // there for two seconds of three
		r.hold(2*time.Second, jam(L1))
		r.hold(time.Second)
	}
	if v := r.only(); v.Count < 2 {
		t.Fatalf("it came %d times", v.Count)
	}
	r = newRig(t)
	for range 20 { // there for one second of three
		r.hold(time.Second, jam(L1))
		r.hold(2 * time.Second)
	}
	if len(r.rows) != 0 {
		t.Fatal("what is mostly away is an alert")
	}
	r = newRig(t)
	r.say(RulesChanged{Rules: Rules{Causes: map[Cause]Rule{Congestion: {Dwell: -1}}}})
	r.say(Reviewed{Reviews: []Review{{Feed: FeedCongestion, Conditions: []Condition{jam(L1)}}, {Feed: FeedZones, Conditions: []Condition{jam(L2)}}}})
	if v := r.only(); v.Status != Open {
		t.Fatalf("seen twice: %+v", v.Alert)
	}
}
