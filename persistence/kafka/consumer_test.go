package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"

	"starling/persistence/kafka"
)

// patience ends a test that would wait for ever.
const patience = 60 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// effects are what a consumer has done, with the memory of what it had: what a transaction would make of it.
type effects struct {
	mu     sync.Mutex
	had    map[string]bool // the inbox
	byKey  map[string][]string
	twice  int
	away   atomic.Bool
	poison string
	calls  atomic.Int64
	given  atomic.Int64 // messages, each time
}

func newEffects() *effects { return &effects{had: map[string]bool{}, byKey: map[string][]string{}} }

func (e *effects) handle(_ context.Context, batch []kafka.Message) error {
	e.calls.Add(1)
	for i := range batch {
		if batch[i].Key != probe {
			e.given.Add(1)
		}
	}
	if e.away.Load() {
		return fmt.Errorf("%w: no store", kafka.ErrAway)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range batch {
		if e.poison != "" && strings.HasPrefix(string(batch[i].Value), e.poison) {
			if e.poison == "panic" {
				panic("on a bad one")
			}
			return errors.New("cannot read it")
		}
	}
	for i := range batch {
		m := &batch[i]
		if m.Key == probe {
			continue
		}
		if id := m.Header("ce_id"); e.had[id] {
			e.twice++
		} else {
			e.had[id] = true
			e.byKey[m.Key] = append(e.byKey[m.Key], string(m.Value))
		}
	}
	return nil
}

func (e *effects) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.had)
}

// inOrder says that each key's messages came in their order, none missing.
func (e *effects) inOrder(t *testing.T, keys, each int) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for k := range keys {
		key := fmt.Sprintf("k%d", k)
		want := make([]string, each)
		for i := range want {
			want[i] = fmt.Sprintf("%s-%d", key, i)
		}
		if !slices.Equal(e.byKey[key], want) {
			t.Fatalf("key %s: got %v", key, e.byKey[key])
		}
	}
}

// publish sends messages n to m of each of some keys.
func publish(t *testing.T, c *kafka.Client, keys, from, to int) {
	t.Helper()
	var records []kafka.Record
	for i := from; i < to; i++ {
		for k := range keys {
			v := fmt.Sprintf("k%d-%d", k, i)
			records = append(records, kafka.Record{
				Topic: kafka.TopicTaskEvents, Key: fmt.Sprintf("k%d", k), Value: []byte(v), Headers: []kafka.Header{{Key: "ce_id", Value: []byte(v)}},
			})
		}
	}
	for i, err := range c.Publish(t.Context(), records) {
		if err != nil {
			t.Fatalf("publish %d: %v", i, err)
		}
	}
}

type house struct {
	o      kafka.Options
	client *kafka.Client
}

// houseAt has the topics of one test under a prefix of their own.
func houseAt(t *testing.T, brokers []string) house {
	t.Helper()
	prefix := strings.ToLower(strings.NewReplacer("/", "-", " ", "-").Replace(t.Name()))
	o := kafka.Options{Brokers: brokers, Prefix: prefix[max(0, len(prefix)-60):] + "."}
	h := house{o, open(t, o)}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.client.EnsureTopics(ctx); err != nil {
		t.Fatal(err)
	}
	// A topic that was made a moment ago is not known to all yet.
	eventually(t, "the topic takes messages", func() bool {
		return h.client.Publish(t.Context(), []kafka.Record{{Topic: kafka.TopicTaskEvents, Key: probe, Value: []byte("x"), At: past.Add(-24 * time.Hour)}})[0] == nil
	})
	return h
}

// probe is the key of messages that only see whether there is a topic.
const probe = "probe"

func (h house) join(t *testing.T, e *effects, change func(*kafka.Options, *kafka.ConsumerOptions)) *kafka.Consumer {
	t.Helper()
	o, c := h.o, kafka.ConsumerOptions{
		Group: "projector", Topics: []string{kafka.TopicTaskEvents}, Handle: e.handle, Dead: h.client.Publish, Attempts: 3, Batch: 50, Pause: 10 * time.Millisecond,
	}
	if change != nil {
		change(&o, &c)
	}
	x, err := kafka.NewConsumer(o, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sync.OnceFunc(x.Close))
	return x
}

// consumerTests run against any broker.
func consumerTests() map[string]func(*testing.T, house) {
	return map[string]func(*testing.T, house){
		"members come and go":    membersComeAndGo,
		"a bad message":          aBadMessage,
		"a message that panics":  aPanic,
		"many bad messages":      manyBad,
		"a store that goes away": aStoreAway,
		"a group remembers":      aGroupRemembers,
		"an end without effect":  anEndWithoutEffect,
	}
}

func TestConsumer(t *testing.T) {
	t.Parallel()
	for name, test := range consumerTests() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, houseAt(t, broker(t).ListenAddrs()))
		})
	}
}

// While messages come, a second member joins the group and the first one leaves it: each message takes effect once, those
// of a key in their order.
func membersComeAndGo(t *testing.T, h house) {
	const keys, each = 20, 60
	e := newEffects()
	registry := prometheus.NewRegistry()
	first := h.join(t, e, func(o *kafka.Options, _ *kafka.ConsumerOptions) { o.Registerer = registry })
	publish(t, h.client, keys, 0, 20)
	eventually(t, "the first messages", func() bool { return e.count() == 20*keys })
	h.join(t, e, nil)
	publish(t, h.client, keys, 20, 40)
	eventually(t, "those of two members", func() bool { return e.count() == 40*keys })
	if metric(t, registry, "starling_kafka_rebalances_total") == 0 || metric(t, registry, "starling_kafka_consumed_total") == 0 {
		t.Error("nothing was counted")
	}
	first.Close()
	publish(t, h.client, keys, 40, each)
	eventually(t, "those of the second member", func() bool { return e.count() == each*keys })
	e.inOrder(t, keys, each)
}

func aBadMessage(t *testing.T, h house) { poisoned(t, h, "k3-7", "cannot read it") }
func aPanic(t *testing.T, h house)      { poisoned(t, h, "panic", "on a bad one") }

// One message cannot be handled: it stands with its cause on the dead letters, all others take effect.
func poisoned(t *testing.T, h house, value, cause string) {
	const keys, each = 5, 12
	e := newEffects()
	e.poison = value
	publish(t, h.client, keys, 0, 7)
	bad := kafka.Record{Topic: kafka.TopicTaskEvents, Key: "k3", Value: []byte(value), Headers: []kafka.Header{{Key: "ce_id", Value: []byte("bad")}}}
	if value == "panic" {
		if err := h.client.Publish(t.Context(), []kafka.Record{bad})[0]; err != nil {
			t.Fatal(err)
		}
	}
	publish(t, h.client, keys, 7, each)
	h.join(t, e, nil)
	want := keys * each
	if value != "panic" {
		want--
	}
	eventually(t, "all but the bad one", func() bool { return e.count() == want })
	dead := read(t, h.o, kafka.DeadLetters(kafka.TopicTaskEvents), 1)[0]
	headers := map[string]string{}
	for _, x := range dead.Headers {
		headers[x.Key] = string(x.Value)
	}
	if string(dead.Key) != "k3" || string(dead.Value) != value || !strings.Contains(headers["dead_cause"], cause) || headers["dead_topic"] != kafka.TopicTaskEvents ||
		headers["dead_by"] != "projector" || headers["dead_attempts"] != "3" || headers["dead_offset"] == "" || headers["ce_id"] == "" {
		t.Fatalf("dead letter %s %s %v", dead.Key, dead.Value, headers)
	}
}

// One bad message after another: what lies with the dead letters is committed before the next one is tried. A group whose
// time with single messages is over has others come and go before it goes on. Good ones among them take effect once.
func manyBad(t *testing.T, h house) {
	const bad = 12
	var records []kafka.Record
	for i := range 2 * bad {
		v := fmt.Sprintf("%s-%d", []string{"good", "bad"}[i%2], i)
		records = append(records, kafka.Record{Topic: kafka.TopicTaskEvents, Key: "k", Value: []byte(v), Headers: []kafka.Header{{Key: "ce_id", Value: []byte(v)}}})
	}
	for _, err := range h.client.Publish(t.Context(), records) {
		if err != nil {
			t.Fatal(err)
		}
	}
	raw, err := kafka.NewClient(h.o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(raw.Close)
	committed := func(group string) (most int64) {
		offsets, err := kadm.NewClient(raw).FetchOffsets(t.Context(), h.o.Name(group))
		if err != nil {
			t.Fatal(err)
		}
		offsets.Each(func(o kadm.OffsetResponse) { most = max(most, o.At) })
		return most
	}
	for group, alone := range map[string]time.Duration{"patient": time.Hour, "hurried": time.Nanosecond} {
		e := newEffects()
		e.poison = "bad"
		var dead, polls atomic.Int64
		open := make(chan struct{})
		h.join(t, e, func(_ *kafka.Options, c *kafka.ConsumerOptions) {
			c.Group, c.Attempts, c.Alone = group, 1, alone
			c.Handle = func(ctx context.Context, batch []kafka.Message) error {
				if len(batch) > 1 {
					polls.Add(1)
				}
				return e.handle(ctx, batch)
			}
			c.Dead = func(ctx context.Context, r []kafka.Record) []error {
				if dead.Add(1) == bad/2 {
					<-open
				}
				return h.client.Publish(ctx, r)
			}
		})
		eventually(t, "the sixth", func() bool { return dead.Load() == bad/2 })
		if at := committed(group); at < bad-2 { // the five before it, and the good ones
			t.Errorf("%s: committed up to %d", group, at)
		}
		close(open)
		eventually(t, "all", func() bool { return e.count() == bad && dead.Load() == bad && committed(group) >= 2*bad })
		if n := polls.Load(); alone < time.Second && n < bad || alone > time.Second && n > bad/2 {
			t.Errorf("%s: %d polls", group, n)
		}
		if e.twice > 0 {
			t.Errorf("%s: %d came twice", group, e.twice)
		}
	}
}

// The store is away for longer than the consumer keeps its partitions: nothing is lost, nothing is dead.
func aStoreAway(t *testing.T, h house) {
	const keys, each = 10, 30
	e := newEffects()
	e.away.Store(true)
	h.join(t, e, func(_ *kafka.Options, c *kafka.ConsumerOptions) { c.Patience = 100 * time.Millisecond })
	publish(t, h.client, keys, 0, each)
	eventually(t, "it tries again and again", func() bool { return e.calls.Load() > 40 })
	if e.count() > 0 {
		t.Fatal("effects while the store is away")
	}
	e.away.Store(false)
	eventually(t, "all", func() bool { return e.count() == keys*each })
	e.inOrder(t, keys, each)
	publish(t, h.client, keys, each, each+1)
	eventually(t, "and further ones", func() bool { return e.count() == keys*(each+1) })
}

// A member ends while it waits for the store: what it had polled and not put into effect comes to the next one.
func anEndWithoutEffect(t *testing.T, h house) {
	const keys, each = 10, 30
	e := newEffects()
	publish(t, h.client, keys, 0, each)
	e.away.Store(true)
	x := h.join(t, e, nil)
	eventually(t, "it has polled", func() bool { return e.given.Load() > 0 })
	x.Close()
	e.away.Store(false)
	h.join(t, e, nil)
	eventually(t, "all", func() bool { return e.count() == keys*each })
	e.inOrder(t, keys, each)
}

// Who joins later begins where the group was: what was committed does not come again.
func aGroupRemembers(t *testing.T, h house) {
	const keys = 4
	e := newEffects()
	x := h.join(t, e, nil)
	publish(t, h.client, keys, 0, 10)
	eventually(t, "the first messages", func() bool { return e.count() == 10*keys })
	x.Close()
	publish(t, h.client, keys, 10, 20)
	registry := prometheus.NewRegistry()
	h.join(t, e, func(o *kafka.Options, _ *kafka.ConsumerOptions) { o.Registerer = registry })
	eventually(t, "the others", func() bool { return e.count() == 20*keys })
	e.inOrder(t, keys, 20)
	if e.twice > 0 {
		t.Errorf("%d messages came twice", e.twice)
	}
}

// metric adds up what a metric counts.
func metric(t *testing.T, g prometheus.Gatherer, name string) (total float64) {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return total
}
