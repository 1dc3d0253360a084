package outbox_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/persistence/outbox"
)

// Another worker has sent what a resting topic waited for: the pump comes to rest.
func TestATopicThatIsDoneWithElsewhereIsNotAskedForAgainAndAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := &store{}
		sk := &sink{fate: func(*outbox.Message) (error, bool) { return errAway, false }}
		claims := 0
		st.fail = func(call string) error {
			if call == "claim" {
				claims++
			}
			return nil
		}
		p := start(t, outbox.Options{Store: st, Locks: newHouse().join(), Sink: sk, Topics: []string{topic}})
		st.add(2, topic, "a", 1)
		p.Wake(2)
		time.Sleep(time.Minute)
		_ = st.Sent(t.Context(), []outbox.Event{{EventID: "a-1"}})
		time.Sleep(10 * time.Second)
		st.mu.Lock()
		claims = 0
		st.mu.Unlock()
		time.Sleep(10 * time.Minute)
		st.mu.Lock()
		n := claims
		st.mu.Unlock()
		if n > 16*11 {
			t.Errorf("%d claims in ten minutes of nothing", n)
		}
		_ = p.Stop(t.Context())
	})
}

// One partition of a topic is away: its facts stand in front of all others, more than a probe and more than a batch, and all
// others leave nevertheless. When it is back, so do they.
func TestOnePartitionThatIsAwayHoldsUpNoOtherAggregate(t *testing.T) {
	t.Parallel()
	for _, slow := range []time.Duration{0, 10 * time.Second} { // how long a try of what is away takes
		t.Run(slow.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st, back, hit := &store{}, false, false
				sk := &sink{fate: func(m *outbox.Message) (error, bool) {
					if strings.HasPrefix(m.Key, "away") && !back {
						hit = true
						return errAway, false
					}
					return nil, true
				}}
				tries := tardy{sk, func() bool { sk.mu.Lock(); defer sk.mu.Unlock(); h := hit; hit = false; return h }, slow}
				p := start(t, outbox.Options{Store: st, Locks: newHouse().join(), Sink: tries, Topics: []string{topic}})
				for v := range 25 {
					for a := range 30 {
						st.add(4, topic, fmt.Sprint("away", a), v+1)
					}
				}
				p.Wake(4)
				time.Sleep(time.Minute)
				for a := range 300 {
					st.add(4, topic, fmt.Sprint("fine", a), 1)
				}
				p.Wake(4)
				time.Sleep(20*time.Second + 3*slow)
				synctest.Wait()
				if n := len(sk.effects(topic)); n != 300 {
					t.Errorf("%d of 300 have left", n)
				}
				sk.mu.Lock()
				back = true
				sk.mu.Unlock()
				time.Sleep(4*time.Second + 3*slow)
				synctest.Wait()
				if left := st.undone(); len(left) != 0 {
					t.Errorf("%d are left after it came back", len(left))
				}
				_ = p.Stop(t.Context())
			})
		})
	}
}

// tardy answers late where something is away.
type tardy struct {
	outbox.Sink
	missed func() bool
	by     time.Duration
}

func (s tardy) Publish(ctx context.Context, messages []outbox.Message) []error {
	errs := s.Sink.Publish(ctx, messages)
	if s.missed() {
		time.Sleep(s.by)
	}
	return errs
}

func TestLettersThatCannotBeDealtWithHoldUpNoFact(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, sk, well := &store{}, &sink{}, false
		st.fail = func(call string) error {
			if call == "handle" && !well {
				return errAway
			}
			return nil
		}
		reg := prometheus.NewRegistry()
		p := start(t, outbox.Options{Store: st, Locks: newHouse().join(), Sink: sk, Topics: []string{topic}, Registerer: reg})
		st.add(2, topic, "a", 1)
		st.add(2, topic, "a", 2)
		st.edit("a-1", func(r *row) { r.dead, r.letter = true, "retrying" })
		st.add(2, topic, "b", 1)
		p.Wake(2)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := sk.effects(topic); !slices.Equal(got, []string{"b-1"}) {
			t.Errorf("sent %v", got)
		}
		if n, err := testutil.GatherAndCount(reg, "starling_outbox_faults_total"); err != nil || n != 1 {
			t.Errorf("%d kinds of faults counted, %v", n, err)
		}
		st.mu.Lock()
		well = true
		st.mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := sk.effects(topic); !slices.Equal(got, []string{"b-1", "a-1", "a-2"}) {
			t.Errorf("sent %v", got)
		}
		_ = p.Stop(t.Context())
	})
}

// A worker stalls with facts that it means to hold; meanwhile another one deals with the letter. They are not lost.
func TestNothingIsHeldBehindALetterThatHasBeenDealtWith(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, h, stalled, back := &store{}, newHouse(), false, time.Now().Add(30*time.Second)
		sk := &sink{fate: func(*outbox.Message) (error, bool) {
			if time.Now().Before(back) { // it is not sent before the first one wakes up
				return errAway, false
			}
			return nil, true
		}}
		st.wait = func(call string) {
			st.mu.Lock()
			first := call == "hold" && !stalled
			stalled = stalled || first
			st.mu.Unlock()
			if first {
				time.Sleep(20 * time.Second)
			}
		}
		st.add(2, topic, "a", 1)
		st.add(2, topic, "a", 2)
		st.edit("a-1", func(r *row) { r.dead, r.letter = true, "open" })
		l := h.join()
		a := start(t, outbox.Options{Store: st, Locks: l, Sink: sk, Topics: []string{topic}})
		a.Wake(2)
		time.Sleep(time.Second)
		b := start(t, outbox.Options{Store: st, Locks: h.join(), Sink: sk, Topics: []string{topic}})
		l.forget()
		st.edit("a-1", func(r *row) { r.letter = "retrying" })
		time.Sleep(time.Minute)
		synctest.Wait()
		if got, left := sk.effects(topic), st.undone(); !slices.Equal(got, []string{"a-1", "a-2"}) || len(left) > 0 {
			t.Errorf("sent %v, left %v", got, left)
		}
		_ = a.Stop(t.Context())
		_ = b.Stop(t.Context())
	})
}
