package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Message is a record as a consumer gets it.
type Message struct {
	Topic     string // without prefix
	Partition int32
	Offset    int64
	Key       string
	Value     []byte
	Headers   []Header
	At        time.Time
}

// Header is the value of a header, "" where there is none.
func (m *Message) Header(key string) string {
	for _, h := range m.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// ErrAway says that a handler could not do its work for a reason that is none of the message's: its store is away. It is
// tried again for as long as it takes.
var ErrAway = errors.New("what the consumer writes to is away")

// ConsumerOptions say what is consumed and how. The zero value of a field is its stated default.
type ConsumerOptions struct {
	Group  string   // without prefix
	Topics []string // without prefix
	// Handle puts a batch into effect: messages of one partition stand in its order. It may be given a message twice (a
	// member of the group that has lost its partition, a crash before the commit), and remembers what it had: the effect and
	// that memory become durable together. An error that wraps ErrAway is waited out; any other one means that a message is
	// bad: the batch is then given one by one, and what fails Attempts times goes to <topic>.dlq.
	Handle func(ctx context.Context, batch []Message) error
	// Dead takes what could not be handled. (Client.Publish.)
	Dead     func(ctx context.Context, records []Record) []error
	Attempts int // 0 = 5
	Batch    int // messages at most; 0 = 500
	// Patience is how long the consumer holds its partitions while the store is away, before it lets the group move them; 0 =
	// 10 s. The broker would take them after 60.
	Patience time.Duration
	// Alone is for how long the messages of a poll are handled one by one, where one of them is bad; what is left comes with the
	// next poll, so that members may come and go in between. 0 = 20 s.
	Alone time.Duration
	// Pause is waited after the first failure, twice as long after each, up to 5 s; 0 = 100 ms.
	Pause time.Duration
}

// Consumer is a member of a group. Offsets are committed after the effect, so that a message is handled at least once.
type Consumer struct {
	o       Options
	c       ConsumerOptions
	log     *slog.Logger
	kgo     *kgo.Client
	metrics *consumerMetrics
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

// NewConsumer joins the group in the background; Close leaves it. A group that is new begins with the oldest message.
func NewConsumer(o Options, c ConsumerOptions) (*Consumer, error) {
	c.Attempts, c.Batch = cmp.Or(c.Attempts, 5), cmp.Or(c.Batch, 500)
	c.Patience, c.Pause, c.Alone = cmp.Or(c.Patience, 10*time.Second), cmp.Or(c.Pause, 100*time.Millisecond), cmp.Or(c.Alone, 20*time.Second)
	x := &Consumer{o: o, c: c, log: o.Log, metrics: newConsumerMetrics(c.Group)}
	if x.log == nil {
		x.log = slog.New(slog.DiscardHandler)
	}
	topics := make([]string, len(c.Topics))
	for i, t := range c.Topics {
		topics[i] = o.Name(t)
	}
	var err error
	x.kgo, err = NewClient(
		o,
		kgo.ConsumerGroup(o.Name(c.Group)),
		kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(), // what is polled is committed before its partition goes
		kgo.RebalanceTimeout(60*time.Second),
		kgo.SessionTimeout(10*time.Second), // a reader that was killed keeps its partitions for so long
		kgo.HeartbeatInterval(2*time.Second),
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.FetchMaxBytes(8<<20),
		kgo.OnPartitionsAssigned(x.moved("assigned")),
		kgo.OnPartitionsRevoked(x.moved("revoked")),
		kgo.OnPartitionsLost(x.moved("lost")),
	)
	if err != nil {
		return nil, err
	}
	if o.Registerer != nil {
		if err := x.metrics.register(o.Registerer); err != nil {
			x.kgo.Close()
			return nil, fmt.Errorf("register the metrics of consumer %s: %w", c.Group, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	x.cancel = cancel
	x.done.Go(func() { x.run(ctx) })
	x.done.Go(func() { x.measure(ctx) })
	return x, nil
}

// moved counts rebalances.
func (x *Consumer) moved(how string) func(context.Context, *kgo.Client, map[string][]int32) {
	return func(ctx context.Context, _ *kgo.Client, parts map[string][]int32) {
		n := 0
		for _, p := range parts {
			n += len(p)
		}
		x.metrics.rebalances.WithLabelValues(how).Inc()
		if how == "assigned" {
			x.metrics.partitions.Add(float64(n))
		} else {
			x.metrics.partitions.Sub(float64(n))
		}
		x.log.LogAttrs(ctx, slog.LevelInfo, "partitions moved", slog.String("event", "kafka.rebalance"), slog.String("group", x.c.Group),
			slog.String("how", how), slog.Int("partitions", n))
	}
}

// Close ends the batch under way and leaves the group.
func (x *Consumer) Close() {
	x.cancel()
	x.done.Wait()
	x.kgo.CloseAllowingRebalance()
}

// run consumes until ctx is done.
func (x *Consumer) run(ctx context.Context) {
	for ctx.Err() == nil {
		fetched := x.kgo.PollRecords(ctx, x.c.Batch)
		if ctx.Err() != nil {
			return
		}
		fetched.EachError(func(topic string, p int32, err error) {
			x.metrics.retries.WithLabelValues("fetch").Inc()
			x.log.LogAttrs(ctx, slog.LevelDebug, "cannot fetch", slog.String("event", "kafka.fetch"), slog.String("group", x.c.Group),
				slog.String("topic", topic), slog.Int("partition", int(p)), slog.Any("error", err))
		})
		records := fetched.Records()
		if len(records) == 0 {
			x.kgo.AllowRebalance()
			if fetched.Err() != nil {
				pause(ctx, time.Second)
			}
			continue
		}
		x.take(ctx, records)
	}
}

// take handles what was polled and commits it. Where the store stays away, or it takes too long, the partitions are set back
// to where they were.
func (x *Consumer) take(ctx context.Context, records []*kgo.Record) {
	defer x.kgo.AllowRebalance()
	batch := make([]Message, len(records))
	for i, r := range records {
		batch[i] = messageOf(&x.o, r)
	}
	began := time.Now()
	done, err := x.handle(ctx, batch, func(done int) { x.commit(ctx, records[:done]) })
	x.metrics.took.Observe(time.Since(began).Seconds())
	if done > 0 {
		x.commit(ctx, records[:done])
	}
	if err != nil {
		x.rewind(records[done:])
	}
}

// errLong: the messages of a poll have been handled one by one for long enough.
var errLong = errors.New("the rest of the poll comes once more")

// handle puts the batch into effect. done messages, from the front, are: handled or dead. The error is that of what is
// away, or of ctx, or errLong. What lies with the dead letters is committed at once: it must not go there twice.
func (x *Consumer) handle(ctx context.Context, batch []Message, commit func(done int)) (done int, err error) {
	err = x.patiently(ctx, func() error { return x.effect(ctx, batch) })
	if err == nil || errors.Is(err, ErrAway) || ctx.Err() != nil {
		if err == nil {
			return len(batch), nil
		}
		return 0, err
	}
	// One of them is bad. Alone, each shows whether it is that one.
	end := time.Now().Add(x.c.Alone)
	for i := range batch {
		if i > 0 && time.Now().After(end) {
			return i, errLong
		}
		buried, err := x.alone(ctx, batch[i:i+1])
		if err != nil {
			return i, err
		}
		if buried {
			commit(i + 1)
		}
	}
	return len(batch), nil
}

// alone handles one message; one that fails again and again goes to the dead letters, and the partition goes on.
func (x *Consumer) alone(ctx context.Context, one []Message) (buried bool, err error) {
	m := &one[0]
	for attempt := 1; ; attempt++ {
		err := x.patiently(ctx, func() error { return x.effect(ctx, one) })
		if err == nil || errors.Is(err, ErrAway) || ctx.Err() != nil {
			return false, err
		}
		x.metrics.retries.WithLabelValues("bad").Inc()
		if attempt >= x.c.Attempts {
			return true, x.bury(ctx, m, err)
		}
		pause(ctx, x.backoff(attempt))
	}
}

// bury puts a message where people look for it.
func (x *Consumer) bury(ctx context.Context, m *Message, cause error) error {
	text := cause.Error()
	if len(text) > 1000 {
		text = strings.ToValidUTF8(text[:1000], "")
	}
	r := Record{Topic: DeadLetters(m.Topic), Key: m.Key, Value: m.Value, At: m.At}
	for _, h := range m.Headers {
		if !strings.HasPrefix(h.Key, "dead_") {
			r.Headers = append(r.Headers, h)
		}
	}
	for _, h := range [][2]string{
		{"dead_cause", text},
		{"dead_attempts", strconv.Itoa(x.c.Attempts)},
		{"dead_topic", m.Topic},
		{"dead_by", x.c.Group},
		{"dead_partition", strconv.Itoa(int(m.Partition))},
		{"dead_offset", strconv.FormatInt(m.Offset, 10)},
	} {
		r.Headers = append(r.Headers, Header{Key: h[0], Value: []byte(h[1])})
	}
	err := x.patiently(ctx, func() error {
		err := x.c.Dead(ctx, []Record{r})[0]
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrRefused) && r.Value != nil: // too large with its headers: where it stands is said
			r.Value = nil
			return fmt.Errorf("%w: %w", ErrAway, err)
		case errors.Is(err, ErrRefused):
			return err
		}
		return fmt.Errorf("%w: %w", ErrAway, err)
	})
	if errors.Is(err, ErrAway) || ctx.Err() != nil {
		return err
	}
	x.metrics.consumed.WithLabelValues(m.Topic, "dead").Inc()
	x.log.LogAttrs(ctx, slog.LevelError, "message could not be handled", slog.String("event", "kafka.dead"), slog.String("group", x.c.Group),
		slog.String("topic", m.Topic), slog.Int("partition", int(m.Partition)), slog.Int64("offset", m.Offset), slog.String("cause", text))
	return nil
}

// errPanic: the handler panicked.
var errPanic = errors.New("the handler panicked")

// effect calls the handler. A message on which it panics is a bad one.
func (x *Consumer) effect(ctx context.Context, batch []Message) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
		if err == nil {
			for i := range batch {
				x.metrics.consumed.WithLabelValues(batch[i].Topic, "handled").Inc()
			}
			x.metrics.age.Set(time.Since(batch[len(batch)-1].At).Seconds())
		}
	}()
	return x.c.Handle(ctx, batch)
}

// patiently tries again while something is away, until Patience is over.
func (x *Consumer) patiently(ctx context.Context, try func() error) error {
	end := time.Now().Add(x.c.Patience)
	for n := 1; ; n++ {
		err := try()
		if err == nil || !errors.Is(err, ErrAway) || ctx.Err() != nil {
			return err
		}
		x.metrics.retries.WithLabelValues("away").Inc()
		wait := x.backoff(n)
		if time.Now().Add(wait).After(end) {
			return err
		}
		pause(ctx, wait)
	}
}

// backoff is how long to wait after failure n (from 1), half of it random.
func (x *Consumer) backoff(n int) time.Duration {
	d := min(x.c.Pause<<min(n-1, 10), 5*time.Second)
	return d/2 + rand.N(d/2+1)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// commit says how far the group is. Where it does not come through, those messages come once more, and are known.
func (x *Consumer) commit(ctx context.Context, records []*kgo.Record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second) // also when we are ending
	defer cancel()
	if err := x.kgo.CommitRecords(ctx, records...); err != nil {
		x.metrics.retries.WithLabelValues("commit").Inc()
		x.log.LogAttrs(ctx, slog.LevelDebug, "cannot commit offsets", slog.String("event", "kafka.commit"), slog.String("group", x.c.Group), slog.Any("error", err))
	}
}

// rewind makes the partitions begin again with what was not handled.
func (x *Consumer) rewind(records []*kgo.Record) {
	first := map[string]map[int32]kgo.EpochOffset{}
	for _, r := range records {
		if first[r.Topic] == nil {
			first[r.Topic] = map[int32]kgo.EpochOffset{}
		}
		if at, ok := first[r.Topic][r.Partition]; !ok || r.Offset < at.Offset {
			first[r.Topic][r.Partition] = kgo.EpochOffset{Epoch: r.LeaderEpoch, Offset: r.Offset}
		}
	}
	x.kgo.SetOffsets(first)
}

// measureEvery is how often the brokers are asked how far behind the group is.
const measureEvery = 10 * time.Second

// measure keeps the lag of the group, as the brokers know it: also of partitions that nobody reads.
func (x *Consumer) measure(ctx context.Context) {
	admin := kadm.NewClient(x.kgo)
	for {
		x.lag(ctx, admin)
		select {
		case <-ctx.Done():
			return
		case <-time.After(measureEvery):
		}
	}
}

func (x *Consumer) lag(ctx context.Context, admin *kadm.Client) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	group := x.o.Name(x.c.Group)
	all, err := admin.Lag(ctx, group)
	mine := all[group]
	if err != nil || mine.Error() != nil {
		return // the last known stands; that the brokers are away is said elsewhere
	}
	for topic, parts := range mine.Lag {
		var sum, most int64
		for _, p := range parts {
			if p.Lag > 0 {
				sum, most = sum+p.Lag, max(most, p.Lag)
			}
		}
		topic = strings.TrimPrefix(topic, x.o.Prefix)
		x.metrics.lag.WithLabelValues(topic, "sum").Set(float64(sum))
		x.metrics.lag.WithLabelValues(topic, "worst").Set(float64(most))
	}
}
