package outbox_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"starling/persistence/outbox"
)

// pair is two workers of one store, each with its own way to the brokers.
type pair struct {
	st    *store
	sinks [2]*sink
	locks [2]*locks
	pumps [2]*outbox.Pumps
}

func newPair(t *testing.T) *pair {
	p, h := &pair{st: &store{}}, newHouse()
	for i := range p.pumps {
		p.sinks[i], p.locks[i] = &sink{}, h.join()
		p.pumps[i] = start(t, outbox.Options{Store: p.st, Locks: p.locks[i], Sink: p.sinks[i], Topics: []string{topic}, Ring: p.st.ring})
	}
	time.Sleep(10 * time.Second)
	return p
}

func (p *pair) held(i int) (n int) {
	for s := range 16 {
		if p.locks[i].Held(s) {
			n++
		}
	}
	return n
}

// cut parts a worker from the brokers, or ends that; it may still be told that they are there.
func (p *pair) cut(i int, away, told bool) {
	s := p.sinks[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fate, s.ping = nil, nil
	if away {
		s.fate = func(*outbox.Message) (error, bool) { return errAway, false }
		if !told {
			s.ping = errAway
		}
	}
}

// add records a fact in each shard.
func (p *pair) add(version int) {
	for s := range 16 {
		p.st.add(s, topic, fmt.Sprint("x", s), version)
		p.pumps[0].Wake(s)
	}
}

func (p *pair) stop(t *testing.T) {
	for _, x := range p.pumps {
		_ = x.Stop(t.Context())
	}
}

// A worker that alone is cut off from the brokers gives its shards to the other one, and has its share again when they answer.
func TestAWorkerThatIsCutOffLeavesItsShardsToOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.cut(0, true, false)
		p.add(1)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if left := p.st.undone(); len(left) != 0 || p.held(0) != 0 || p.held(1) != 16 {
			t.Errorf("left %v; they hold %d and %d", left, p.held(0), p.held(1))
		}
		p.cut(0, false, false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if p.held(0) != 8 || p.held(1) != 8 {
			t.Errorf("afterwards they hold %d and %d", p.held(0), p.held(1))
		}
		p.add(2)
		synctest.Wait()
		if left := p.st.undone(); len(left) != 0 {
			t.Errorf("left at last %v", left)
		}
		p.stop(t)
	})
}

// One to whom the brokers answer, and from whom they take nothing, comes back less and less often.
func TestAWorkerOfWhichNothingIsTakenStaysAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.cut(0, true, true)
		late := 0
		for v := range 120 { // ten minutes
			p.add(v + 1)
			time.Sleep(5 * time.Second)
			if synctest.Wait(); len(p.st.undone()) > 0 {
				late++
			}
		}
		if late > 48 { // of 120: it tries for 20 s, and stays away for up to 2 min
			t.Errorf("%d of 120 times something is left", late)
		}
		p.stop(t)
	})
}

// Where the brokers are away for all, somebody stays; and sends everything at once when they are back.
func TestTheLastWorkerStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.cut(0, true, false)
		p.cut(1, true, false)
		p.add(1)
		time.Sleep(10 * time.Minute)
		if p.held(0)+p.held(1) != 16 {
			t.Errorf("they hold %d and %d", p.held(0), p.held(1))
		}
		p.cut(0, false, false)
		p.cut(1, false, false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if left := p.st.undone(); len(left) != 0 {
			t.Errorf("left %v", left)
		}
		time.Sleep(5 * time.Minute) // who had come apart looks again after two minutes at the latest
		synctest.Wait()
		if p.held(0) != 8 || p.held(1) != 8 {
			t.Errorf("they hold %d and %d, want 8 each", p.held(0), p.held(1))
		}
		p.stop(t)
	})
}
