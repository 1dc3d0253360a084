package redis

import (
	"testing"
	"time"

	"starling/engine/fleet"
)

// fakeRounds is a mirror without a writer: a test takes its rounds at moments of its own.
func fakeRounds() (*Mirror, fleet.Shard, *mirrored) {
	m, s := &Mirror{o: MirrorOptions{Alive: time.Second, MaxPending: 100}, m: newMirrorMetrics(), shards: map[fleet.Shard]*mirrored{}}, fleet.Shard{Tenant: "t", Warehouse: "w"}
	m.Own(s, 1)
	return m, s, m.shards[s]
}

// A filling may hold a row as it was before its task ended until its time is over: only then does the tombstone go.
func TestATombstoneOutlivesAFilling(t *testing.T) {
	t.Parallel()
	m, shard, s := fakeRounds()
	ended := time.Now()
	s.gone = []tombstone{{id: "task", at: ended}}
	s.alive.robots, s.alive.tasks = ended.Add(time.Hour), ended.Add(time.Hour) // nothing else to do
	if w := m.take(shard, chunk, ended.Add(fillFor+10*time.Second)); w != nil {
		t.Errorf("after %v %d tombstones are swept, and a filling may have read its rows before them", fillFor, len(w.graves))
	}
	if w := m.take(shard, chunk, ended.Add(graveFor+time.Second)); w == nil || len(w.graves) != 1 {
		t.Errorf("it is never swept: %+v", w)
	}
}

// What changes in one hash keeps nobody from telling that the other is alive.
func TestEachHashIsToldToBeAlive(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		busy, idle string
		change     func(*Mirror, fleet.Shard)
		is         func(*work) bool
	}{
		{"robots", "tasks", func(m *Mirror, s fleet.Shard) { m.RobotChanged(s, "r") }, func(w *work) bool { return w.alive.tasks }},
		{"tasks", "robots", func(m *Mirror, s fleet.Shard) { m.TaskChanged(s, "t", 1) }, func(w *work) bool { return w.alive.robots }},
	} {
		m, shard, _ := fakeRounds()
		now, told := time.Now(), 0
		for range 50 { // 10 s, in each round of which something changes
			now = now.Add(200 * time.Millisecond)
			c.change(m, shard)
			w := m.take(shard, chunk, now)
			if w == nil || len(w.robots)+len(w.tasks) != 1 {
				t.Fatalf("%s: a round takes %+v", c.busy, w)
			}
			if c.is(w) {
				told++
			}
		}
		if told != 10 {
			t.Errorf("while %s changed for 10 s, that of the %s was told to be alive %d times, want one a second", c.busy, c.idle, told)
		}
	}
}

// While a shard is filled in, whoever wants it compared is told that it is not: it asks again, and is heard then.
func TestAComparisonIsNotSwallowedByAFilling(t *testing.T) {
	t.Parallel()
	m, shard, _ := fakeRounds()
	m.fills, m.busy = make(chan fillOf, fillQueue), map[fleet.Shard]bool{}
	if !m.ask(fillOf{shard: shard}) || m.ask(fillOf{shard: shard, compare: true}) {
		t.Error("a filling takes a comparison for itself")
	}
	<-m.fills
	delete(m.busy, shard)
	if !m.ask(fillOf{shard: shard, compare: true}) || !m.ask(fillOf{shard: shard}) {
		t.Error("a comparison is not asked for, or does not fill in")
	}
}
