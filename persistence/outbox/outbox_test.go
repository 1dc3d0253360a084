package outbox_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"starling/persistence/outbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "task.events"

func TestAFactLeavesAtOnceWithItsHeadersAndIsMarked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, sk := &store{}, &sink{}
		p := start(t, outbox.Options{Store: st, Locks: newHouse().join(), Sink: sk, Topics: []string{topic}, Mirror: true})
		time.Sleep(10 * time.Second)
		began := time.Now()
		st.add(3, topic, "a", 1)
		p.Wake(3)
		synctest.Wait()
		if took := time.Since(began); took != 0 || len(st.undone()) != 0 {
			t.Fatalf("after %v: %v", took, st.undone())
		}
		m := sk.log[0]
		for key, want := range map[string]string{
			"ce_specversion": "1.0", "ce_id": "a-1", "ce_type": "starling.task.started", "ce_source": "/tenants/t/warehouses/w", "ce_subject": "task/a",
			"ce_sequence": "1", "content-type": "application/protobuf",
		} {
			if got := header(&m, key); got != want {
				t.Errorf("header %s is %q, want %q", key, got, want)
			}
		}
		if mirror := sk.log[1]; mirror.Topic != topic+".json" || !strings.Contains(string(mirror.Value), `"event_id"`) || header(&mirror, "content-type") != "application/json" {
			t.Errorf("mirror %+v", mirror)
		}
		if err := p.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestWhatNobodySpokeOfIsFoundByTheSweep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, sk := &store{}, &sink{}
		p := start(t, outbox.Options{Store: st, Locks: newHouse().join(), Sink: sk}) // knows no topic
		time.Sleep(1500 * time.Millisecond)
		st.add(7, "alerts", "a", 1)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(st.undone()) != 0 {
			t.Error("it is still there")
		}
		_ = p.Stop(t.Context())
	})
}

func TestARefusedFactBecomesADeadLetterAndOnlyItsAggregateWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := &store{}
		var poison sync.Map
		poison.Store("a-2", true)
		sk := &sink{fate: func(m *outbox.Message) (error, bool) {
			_, bad := poison.Load(header(m, "ce_id"))
			if bad && (m.Topic == topic || m.Value != nil) {
				return fmt.Errorf("too large: %w", outbox.ErrRefused), false
			}
			return nil, true
		}}
		reg := prometheus.NewRegistry()
		p := start(t, outbox.Options{Store: st, Locks: newHouse().join(), Sink: sk, Topics: []string{topic}, Attempts: 4, Registerer: reg})
		for v := range 4 {
			st.add(1, topic, "a", v+1)
			st.add(1, topic, "b", v+1)
		}
		p.Wake(1)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := sk.effects(topic); !slices.Equal(got, []string{"a-1", "b-1", "b-2", "b-3", "b-4"}) {
			t.Fatalf("sent %v", got)
		}
		letter := st.look("a-2")
		if !letter.dead || letter.letter != "open" || !strings.Contains(letter.cause, "too large") || letter.types != "task.started" || letter.Attempts != 3 {
			t.Errorf("letter %+v", letter)
		}
		if n := len(sk.effects(topic + ".dlq")); n != 1 {
			t.Errorf("%d messages on the dead letters' topic", n)
		}
		if dlq := sk.log[len(sk.log)-1]; header(&dlq, "dead_cause") == "" || dlq.Value != nil || header(&dlq, "dead_attempts") != "4" {
			t.Errorf("dead letter %+v", dlq)
		}
		if !st.look("a-3").held || !st.look("a-4").held {
			t.Error("later facts of the aggregate are not held")
		}
		if err := testutil.GatherAndCompare(reg, strings.NewReader("# HELP starling_outbox_dead_letters Dead letters that nobody has dealt with, in the shards that this process pumps.\n"+
			"# TYPE starling_outbox_dead_letters gauge\nstarling_outbox_dead_letters{topic=\"task.events\"} 1\n"), "starling_outbox_dead_letters"); err != nil {
			t.Error(err)
		}
		poison.Delete("a-2")
		st.edit("a-2", func(r *row) { r.letter = "retrying" }) // somebody has asked for it
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := sk.effects(topic); !slices.Equal(got[5:], []string{"a-2", "a-3", "a-4"}) || len(st.undone()) != 0 {
			t.Errorf("after the retry %v, left %v", got, st.undone())
		}
		_ = p.Stop(t.Context())
	})
}

func TestADiscardedLetterFreesItsAggregate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := &store{}
		sk := &sink{fate: func(m *outbox.Message) (error, bool) {
			if header(m, "ce_id") == "a-1" && m.Topic == topic {
				return outbox.ErrRefused, false
			}
			return nil, true
		}}
		p := start(t, outbox.Options{Store: st, Locks: newHouse().join(), Sink: sk, Topics: []string{topic}, Attempts: 2})
		st.add(0, topic, "a", 1)
		st.add(0, topic, "a", 2)
		p.Wake(0)
		time.Sleep(time.Minute)
		st.edit("a-1", func(r *row) { r.letter = "discarding" })
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := sk.effects(topic); !slices.Equal(got, []string{"a-2"}) {
			t.Errorf("sent %v", got)
		}
		_ = p.Stop(t.Context())
	})
}

func TestBrokersThatAreAwayCostNoFactAnAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := &store{}
		var away sync.Map
		away.Store(topic, true)
		sk := &sink{fate: func(m *outbox.Message) (error, bool) {
			if _, is := away.Load(m.Topic); is {
				return errAway, false
			}
			return nil, true
		}}
		p := start(t, outbox.Options{Store: st, Locks: newHouse().join(), Sink: sk, Topics: []string{topic, "alerts"}, Attempts: 2})
		for v := range 100 {
			st.add(2, topic, "a", v+1)
			st.add(2, "alerts", "b", v+1)
		}
		p.Wake(2)
		time.Sleep(10 * time.Minute)
		if n := len(sk.effects("alerts")); n != 100 {
			t.Errorf("another topic got %d of 100", n)
		}
		away.Delete(topic)
		time.Sleep(3100 * time.Millisecond) // the longest rest
		synctest.Wait()
		if left := st.undone(); len(left) != 0 {
			t.Errorf("left %v", left)
		}
		for v := range 100 {
			if r := st.look(fmt.Sprintf("a-%d", v+1)); r.Attempts != 0 || r.dead {
				t.Errorf("%s has %d attempts", r.EventID, r.Attempts)
			}
		}
		_ = p.Stop(t.Context())
	})
}

// A mark that fails after the brokers have answered is made good before anything is claimed: nothing is sent twice because
// of a short fault of the store.
func TestAFailedMarkIsMadeGoodBeforeTheNextClaim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, sk := &store{}, &sink{}
		fails := 3
		st.fail = func(call string) error {
			if call == "sent" && fails > 0 {
				fails--
				return errAway
			}
			return nil
		}
		p := start(t, outbox.Options{Store: st, Locks: newHouse().join(), Sink: sk, Topics: []string{topic}})
		st.add(2, topic, "a", 1)
		p.Wake(2)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(sk.log) != 1 || len(st.undone()) != 0 {
			t.Errorf("sent %d times, left %v", len(sk.log), st.undone())
		}
		_ = p.Stop(t.Context())
	})
}

func TestTwoWorkersShareTheShardsAndOneTakesAllWhenTheOtherEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, sk, h := &store{}, &sink{}, newHouse()
		var mine [2]*locks
		var pumps [2]*outbox.Pumps
		for i := range 2 {
			mine[i] = h.join()
			pumps[i] = start(t, outbox.Options{Store: st, Locks: mine[i], Sink: sk, Topics: []string{topic}, Ring: st.ring})
			time.Sleep(5 * time.Second)
		}
		time.Sleep(10 * time.Second)
		count := func(l *locks) (n int) {
			for i := range 16 {
				if l.Held(i) {
					n++
				}
			}
			return n
		}
		if a, b := count(mine[0]), count(mine[1]); a != 8 || b != 8 {
			t.Errorf("they hold %d and %d", a, b)
		}
		for i := range 16 { // whoever is told, the right one sends
			st.add(i, topic, fmt.Sprint("x", i), 1)
			pumps[i%2].Wake(i)
		}
		began := time.Now()
		synctest.Wait()
		if left := st.undone(); len(left) != 0 || time.Since(began) != 0 {
			t.Errorf("left %v", left)
		}
		_ = pumps[0].Stop(t.Context())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := count(mine[1]); n != 16 {
			t.Errorf("the one that is left holds %d", n)
		}
		_ = pumps[1].Stop(t.Context())
	})
}

// What holds in every history: with workers that come, go and lose their locks in the middle of a batch, with brokers that
// refuse, vanish and lose their answers, and with a store that fails at any call, each fact arrives, and whoever drops doubles
// reads each aggregate in order.
func TestEachFactArrivesInOrderThroughAnyFaults(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		workers, facts := rapid.IntRange(1, 3).Draw(rt, "workers"), rapid.IntRange(1, 60).Draw(rt, "facts")
		batch, attempts := rapid.IntRange(1, 20).Draw(rt, "batch"), rapid.IntRange(2, 4).Draw(rt, "attempts")
		synctest.Test(t, func(*testing.T) {
			if err := history(seed, workers, facts, batch, attempts); err != nil {
				rt.Fatal(err)
			}
		})
	})
}

func history(seed uint64, workers, facts, batch, attempts int) error {
	rng := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	chance := func(n int) bool { mu.Lock(); defer mu.Unlock(); return rng.IntN(n) == 0 }
	calm := false
	quiet := func() bool { mu.Lock(); defer mu.Unlock(); return calm }
	st, h := &store{}, newHouse()
	st.fail = func(string) error {
		if !quiet() && chance(10) {
			return errAway
		}
		return nil
	}
	sk := &sink{}
	sk.fate = func(m *outbox.Message) (error, bool) {
		switch {
		case quiet():
			return nil, true
		case chance(10):
			return errAway, chance(2) // perhaps only the answer is lost
		case chance(15):
			return outbox.ErrRefused, false
		}
		return nil, true
	}
	sk.gate = func() {
		if !quiet() {
			mu.Lock()
			d := time.Duration(rng.IntN(400)) * time.Millisecond
			mu.Unlock()
			time.Sleep(d) // long enough for another worker to take over
		}
	}
	st.wait = func(call string) { // a pump that stalls between what it has read and what it makes of it
		if call == "hold" && !quiet() && chance(2) {
			time.Sleep(600 * time.Millisecond)
		}
	}
	retry := func() {
		st.mu.Lock()
		defer st.mu.Unlock()
		for _, r := range st.rows {
			if r.letter == "open" {
				r.letter = "retrying"
			}
		}
	}
	ctx := context.Background()
	var all []*outbox.Pumps
	var held []*locks
	join := func() {
		l := h.join()
		p, err := outbox.Start(ctx, outbox.Options{
			Store: st, Locks: l, Sink: sk, Shards: 2, Topics: []string{topic}, Batch: batch, Attempts: attempts, Ring: st.ring,
			MinRetry: 10 * time.Millisecond, MaxRetry: 100 * time.Millisecond, MaxRest: 200 * time.Millisecond, SweepEvery: 300 * time.Millisecond, Apart: 500 * time.Millisecond,
		})
		if err != nil {
			panic(err)
		}
		all, held = append(all, p), append(held, l)
	}
	for range workers {
		join()
	}
	versions := map[int]int{}
	for range facts {
		mu.Lock()
		a, pause := rng.IntN(5), time.Duration(rng.IntN(50))*time.Millisecond
		mu.Unlock()
		versions[a]++
		st.add(a%2, topic, fmt.Sprint("agg", a), versions[a])
		all[len(all)-1].Wake(a % 2)
		if chance(8) {
			held[len(held)-1].forget() // its session breaks
		}
		if chance(6) {
			retry()
		}
		time.Sleep(pause)
	}
	mu.Lock()
	calm = true
	mu.Unlock()
	for range 20 { // people retry whatever has died
		time.Sleep(time.Second)
		retry()
	}
	synctest.Wait()
	for _, p := range all {
		if err := p.Stop(ctx); err != nil {
			return err
		}
	}
	if left := st.undone(); len(left) > 0 {
		return fmt.Errorf("left %v", left)
	}
	got := map[string][]string{}
	for _, id := range sk.effects(topic) {
		a, _, _ := strings.Cut(id, "-")
		got[a] = append(got[a], id)
	}
	for a, n := range versions {
		name := fmt.Sprint("agg", a)
		var want []string
		for v := range n {
			want = append(want, fmt.Sprintf("%s-%d", name, v+1))
		}
		if !slices.Equal(got[name], want) {
			return fmt.Errorf("%s arrived as %v", name, got[name])
		}
	}
	return nil
}

func TestStopMarksWhatIsWithTheBrokers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, entered := &store{}, make(chan struct{})
		sk := &sink{gate: func() { close(entered); time.Sleep(time.Second) }}
		p := start(t, outbox.Options{Store: st, Locks: newHouse().join(), Sink: sk, Topics: []string{topic}})
		st.add(2, topic, "a", 1)
		p.Wake(2)
		<-entered
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := p.Stop(ctx); err != nil || len(st.undone()) != 0 {
			t.Errorf("%v, left %v", err, st.undone())
		}
	})
}

func TestAnEnvelopeThatCannotBeReadIsADeadLetter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, sk := &store{}, &sink{}
		p := start(t, outbox.Options{Store: st, Locks: newHouse().join(), Sink: sk, Topics: []string{topic}, Attempts: 2})
		st.add(2, topic, "a", 1)
		st.edit("a-1", func(r *row) { r.Payload = []byte("\xff") })
		p.Wake(2)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if r := st.look("a-1"); !r.dead || !strings.Contains(r.cause, "envelope") {
			t.Errorf("%+v", r)
		}
		_ = p.Stop(t.Context())
	})
}

func TestAStoreThatIsAwayIsAskedNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, sk := &store{}, &sink{}
		calls, away := 0, true
		st.fail = func(call string) error {
			if call == "claim" {
				calls++
			}
			if away {
				return errAway
			}
			return nil
		}
		p := start(t, outbox.Options{Store: st, Locks: newHouse().join(), Sink: sk, Topics: []string{topic}})
		time.Sleep(time.Minute)
		st.mu.Lock()
		if calls > 16*60*2 {
			t.Errorf("%d calls in a minute", calls)
		}
		away = false
		st.mu.Unlock()
		st.add(2, topic, "a", 1)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(st.undone()) != 0 {
			t.Error("it is still there")
		}
		if err := p.Sweep(t.Context()); err != nil {
			t.Error(err)
		}
		_ = p.Stop(t.Context())
	})
}

func TestRefusalsAreTriedWithGrowingPausesAlsoByTheNextWorker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, h := &store{}, newHouse()
		var tries []time.Time
		sk := &sink{fate: func(*outbox.Message) (error, bool) {
			tries = append(tries, time.Now())
			return outbox.ErrRefused, false
		}}
		o := outbox.Options{Store: st, Locks: h.join(), Sink: sk, Topics: []string{topic}, Attempts: 100, MinRetry: time.Second, MaxRetry: time.Hour}
		p := start(t, o)
		st.add(2, topic, "a", 1)
		p.Wake(2)
		time.Sleep(500 * time.Second)
		synctest.Wait()
		for i := 1; i < len(tries)-1; i++ {
			if pause, least := tries[i].Sub(tries[i-1]), time.Second<<(i-1)/2; pause < least || pause > 2*least+time.Second {
				t.Errorf("pause %d is %v, want %v to twice that", i, pause, least)
			}
		}
		if n := len(tries); n < 7 || n > 11 {
			t.Errorf("%d tries", n)
		}
		_ = p.Stop(t.Context())
		count := func() int { sk.mu.Lock(); defer sk.mu.Unlock(); return len(tries) }
		before, next := count(), st.look("a-1").next
		o.Locks = h.join()
		p = start(t, o)
		time.Sleep(time.Until(next) - time.Millisecond)
		synctest.Wait()
		if count() != before {
			t.Errorf("the next worker tried at once")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if count() != before+1 {
			t.Errorf("the next worker tried %d times", count()-before)
		}
		_ = p.Stop(t.Context())
	})
}
