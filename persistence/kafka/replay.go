package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ReplayOptions say what is replayed, and to whom. The zero value of a field is its stated default.
type ReplayOptions struct {
	Topic    string    // without prefix
	From, To time.Time // [From, To), of the times when it happened: ce_time where a record has it, else its own
	Speed    float64   // of time: 1 = as it was, 60 = a minute a second; 0 = as fast as it goes
	// Group remembers how far the replay has come, so that one that was interrupted goes on there; "" = nothing is
	// remembered. It is a side group, replay.<Group>: no consumer of the house moves.
	Group string
	// Emit takes each message, in the order of their times; those of one partition keep their order. Its error ends the replay.
	Emit func(ctx context.Context, m *Message) error
}

// Replayed says what a replay did.
type Replayed struct {
	Messages int
	Skipped  int           // of the window, replayed by an earlier run of the group
	Span     time.Duration // of the times of the messages
	Took     time.Duration
}

// ErrGroupInUse: another replay of the group runs.
var ErrGroupInUse = errors.New("the group has members")

// ErrSilent: the brokers do not answer.
var ErrSilent = errors.New("brokers do not answer")

// ErrNoTopic: the brokers have no such topic.
var ErrNoTopic = errors.New("no such topic")

const (
	replayPrefix = "replay."
	// replayAhead is how many messages of one partition wait for those of others.
	replayAhead = 2000
	// replayIdle is how long nothing may come of what should be there while the brokers answer: what is compacted away never
	// comes. Where they do not answer the replay ends after replayAway.
	replayIdle = 5 * time.Second
	replayAway = time.Minute
	// replaySlack is how much later than its time a message may have been told for a window to hold it: facts that waited for
	// the brokers stand behind younger ones.
	replaySlack = time.Hour
	// replaySkew is how much earlier than it happened a message may have been told, by the clock of who told it.
	replaySkew = time.Minute
	// replayCommit is how often the group remembers.
	replayCommit = time.Second
)

// Replay reads the window of a topic and emits its messages as they were told, or faster. It reads to where the topic ends
// when it begins, at most. A message that was told more than an hour after its time may be missed.
func Replay(ctx context.Context, o Options, r ReplayOptions) (Replayed, error) {
	began := time.Now()
	x := &replay{o: o, r: r, parts: map[int32]*replayPart{}}
	c, err := NewClient(o)
	if err != nil {
		return Replayed{}, err
	}
	defer c.Close()
	x.admin = kadm.NewClient(c)
	if err := x.plan(ctx); err != nil {
		return Replayed{}, fmt.Errorf("replay %s: %w", r.Topic, err)
	}
	err = x.run(ctx)
	if e := x.remember(context.WithoutCancel(ctx)); err == nil {
		err = e
	}
	x.done.Took = time.Since(began)
	if err != nil {
		return x.done, fmt.Errorf("replay %s: %w", r.Topic, err)
	}
	return x.done, nil
}

// replay is one under way.
type replay struct {
	o     Options
	r     ReplayOptions
	admin *kadm.Client
	kgo   *kgo.Client
	heard hearing
	parts map[int32]*replayPart
	done  Replayed
	first time.Time // time of the first message
	last  time.Time
	since time.Time // when it was emitted
	saved time.Time
}

// replayPart is one partition: [next, end) is still to come, waiting is here.
type replayPart struct {
	next, end int64
	emitted   int64 // offset after the last one emitted
	waiting   []happened
	paused    bool
}

// happened is a record and when it happened: facts that waited in the outbox were told later.
type happened struct {
	*kgo.Record
	at time.Time
}

func happenedAt(r *kgo.Record) happened {
	for _, h := range r.Headers {
		if h.Key != "ce_time" {
			continue
		}
		if at, err := time.Parse(time.RFC3339Nano, string(h.Value)); err == nil {
			return happened{r, at}
		}
	}
	return happened{r, r.Timestamp}
}

func (p *replayPart) over() bool { return p.next >= p.end && len(p.waiting) == 0 }

// plan finds where the window stands in each partition.
func (x *replay) plan(ctx context.Context) error {
	topic := x.o.Name(x.r.Topic)
	from, err := x.admin.ListOffsetsAfterMilli(ctx, x.r.From.Add(-replaySkew).UnixMilli(), topic)
	if err == nil {
		err = from.Error()
	}
	if err != nil {
		return fmt.Errorf("find the beginning of the window: %w", err)
	}
	if len(from[topic]) == 0 {
		return fmt.Errorf("%w: %s", ErrNoTopic, topic)
	}
	to, err := x.admin.ListOffsetsAfterMilli(ctx, x.r.To.Add(replaySlack).UnixMilli(), topic)
	if err == nil {
		err = to.Error()
	}
	if err != nil {
		return fmt.Errorf("find the end of the window: %w", err)
	}
	from.Each(func(l kadm.ListedOffset) {
		end, _ := to.Lookup(topic, l.Partition)
		x.parts[l.Partition] = &replayPart{next: l.Offset, end: end.Offset, emitted: l.Offset}
	})
	return x.resume(ctx)
}

func (x *replay) group() string { return x.o.Name(replayPrefix + x.r.Group) }

// resume goes on where the group was.
func (x *replay) resume(ctx context.Context) error {
	if x.r.Group == "" {
		return nil
	}
	groups, err := x.admin.DescribeGroups(ctx, x.group())
	if err != nil {
		return fmt.Errorf("look at the group: %w", err)
	}
	if g := groups[x.group()]; len(g.Members) > 0 {
		return fmt.Errorf("%w: %s", ErrGroupInUse, x.group())
	}
	committed, err := x.admin.FetchOffsets(ctx, x.group())
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read how far the group is: %w", err)
	}
	committed.Each(func(c kadm.OffsetResponse) {
		p := x.parts[c.Partition]
		if c.Err != nil || c.Topic != x.o.Name(x.r.Topic) || p == nil || c.At <= p.next || c.At > p.end {
			return // another window
		}
		x.done.Skipped += int(c.At - p.next)
		p.next, p.emitted = c.At, c.At
	})
	return nil
}

// remember lets the group know how far it is.
func (x *replay) remember(ctx context.Context) error {
	x.saved = time.Now()
	if x.r.Group == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var at kadm.Offsets
	for n, p := range x.parts {
		at.Add(kadm.Offset{Topic: x.o.Name(x.r.Topic), Partition: n, At: p.emitted, LeaderEpoch: -1})
	}
	if err := x.admin.CommitAllOffsets(ctx, x.group(), at); err != nil {
		return fmt.Errorf("remember how far the replay is: %w", err)
	}
	return nil
}

// run reads and emits until all partitions are over.
func (x *replay) run(ctx context.Context) (err error) {
	topic := x.o.Name(x.r.Topic)
	start := map[int32]kgo.Offset{}
	for n, p := range x.parts {
		if !p.over() {
			start[n] = kgo.NewOffset().At(p.next)
		}
	}
	if len(start) == 0 {
		return nil
	}
	x.kgo, err = NewClient(x.o, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: start}), kgo.FetchMaxBytes(8<<20),
		kgo.FetchMaxWait(500*time.Millisecond), kgo.WithHooks(&x.heard))
	if err != nil {
		return err
	}
	defer x.kgo.Close()
	heard := time.Now()
	for {
		began := time.Now()
		if err := x.emit(ctx); err != nil {
			return err
		}
		heard = heard.Add(time.Since(began)) // paced, emitting takes its time: that is no silence
		if x.over() {
			return nil
		}
		got, err := x.fetch(ctx, topic)
		switch {
		case err != nil:
			return err
		case got:
			heard = time.Now()
		case time.Since(heard) > replayAway:
			return ErrSilent
		case time.Since(heard) > replayIdle:
			x.skipAbsent(ctx, topic, heard)
		}
	}
}

// skipAbsent ends the partitions of which nothing has come since although their brokers have answered: what is compacted
// away is not waited for.
func (x *replay) skipAbsent(ctx context.Context, topic string, since time.Time) {
	ctx, cancel := context.WithTimeout(ctx, replayIdle)
	defer cancel()
	details, err := x.admin.ListTopics(ctx, topic)
	if err != nil {
		return // asked again
	}
	leaders := details[topic].Partitions
	for n, p := range x.parts {
		if len(p.waiting) == 0 && !p.paused && x.heard.fetched(leaders[n].Leader, since) {
			p.next = max(p.next, p.end)
		}
	}
}

// hearing notes when each broker last answered a fetch.
type hearing struct {
	mu sync.Mutex
	at map[int32]time.Time
}

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (h *hearing) OnBrokerE2E(broker kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if key != int16(kmsg.Fetch) || e2e.Err() != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at == nil {
		h.at = map[int32]time.Time{}
	}
	h.at[broker.NodeID] = time.Now()
}

// fetched says that a fetch that was sent since then was answered: it takes half a second, or less.
func (h *hearing) fetched(broker int32, since time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at[broker].After(since.Add(time.Second))
}

func (x *replay) over() bool {
	for _, p := range x.parts {
		if !p.over() {
			return false
		}
	}
	return true
}

// fetch takes what comes within a moment. Partitions that are far ahead of others wait.
func (x *replay) fetch(ctx context.Context, topic string) (got bool, err error) {
	var pause, resume []int32
	for n, p := range x.parts {
		full := len(p.waiting) >= replayAhead
		if full && !p.paused {
			pause = append(pause, n)
		} else if p.paused && len(p.waiting) < replayAhead/2 {
			resume = append(resume, n)
		}
		p.paused = full || p.paused && len(p.waiting) >= replayAhead/2
	}
	if len(pause) > 0 {
		x.kgo.PauseFetchPartitions(map[string][]int32{topic: pause})
	}
	if len(resume) > 0 {
		x.kgo.ResumeFetchPartitions(map[string][]int32{topic: resume})
	}
	moment, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	fetched := x.kgo.PollRecords(moment, replayAhead)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	fetched.EachError(func(_ string, n int32, e error) {
		if moment.Err() == nil || !errors.Is(e, context.DeadlineExceeded) { // the moment is over: nothing has come
			err = fmt.Errorf("fetch partition %d: %w", n, e)
		}
	})
	if err != nil {
		return false, err
	}
	fetched.EachRecord(func(r *kgo.Record) {
		p := x.parts[r.Partition]
		if p == nil || r.Offset < p.next {
			return
		}
		got = true
		p.next = r.Offset + 1
		if r.Offset < p.end {
			p.waiting = append(p.waiting, happenedAt(r))
		}
	})
	return got, nil
}

// emit emits the earliest messages, as long as it is known that none is earlier: of each partition that goes on, one is here.
func (x *replay) emit(ctx context.Context) error {
	for {
		var next *replayPart
		for _, n := range slices.Sorted(maps.Keys(x.parts)) {
			p := x.parts[n]
			if len(p.waiting) == 0 {
				if !p.over() {
					return nil
				}
				continue
			}
			if next == nil || earlier(p.waiting[0], next.waiting[0]) {
				next = p
			}
		}
		if next == nil {
			return nil
		}
		r := next.waiting[0]
		next.waiting[0] = happened{}
		next.waiting = next.waiting[1:]
		if r.at.Before(x.r.From) || !r.at.Before(x.r.To) {
			next.emitted = r.Offset + 1 // out of the order of times, within the window's offsets
			continue
		}
		if err := x.tell(ctx, r); err != nil {
			return err
		}
		next.emitted = r.Offset + 1
		if time.Since(x.saved) > replayCommit {
			if err := x.remember(ctx); err != nil {
				return err
			}
		}
	}
}

func earlier(a, b happened) bool {
	return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.Partition, b.Partition)) < 0
}

// tell waits for the message's time and emits it.
func (x *replay) tell(ctx context.Context, r happened) error {
	if x.first.IsZero() {
		x.first, x.since = r.at, time.Now()
	}
	if x.r.Speed > 0 {
		due := float64(r.at.Sub(x.first)) / x.r.Speed
		if wait := time.Duration(min(due, math.MaxInt64/2)) - time.Since(x.since); wait > 0 {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(wait):
			}
		}
	}
	m := messageOf(&x.o, r.Record)
	m.At = r.at
	if err := x.r.Emit(ctx, &m); err != nil {
		return err
	}
	x.done.Messages++
	if r.at.After(x.last) {
		x.last = r.at
	}
	x.done.Span = x.last.Sub(x.first)
	return nil
}

// messageOf is a record as consumers get it.
func messageOf(o *Options, r *kgo.Record) Message {
	m := Message{
		Topic: strings.TrimPrefix(r.Topic, o.Prefix), Partition: r.Partition, Offset: r.Offset, Key: string(r.Key), Value: r.Value, At: r.Timestamp,
		Headers: make([]Header, len(r.Headers)),
	}
	for i, h := range r.Headers {
		m.Headers[i] = Header{Key: h.Key, Value: h.Value}
	}
	return m
}
