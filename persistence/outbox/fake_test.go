package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"starling/persistence/outbox"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

var errAway = errors.New("away")

// row is a fact in the fake store.
type row struct {
	outbox.Event
	shard        int
	sent, dead   bool
	held         bool
	next         time.Time
	letter       string // open, retrying, discarding, retried, discarded
	cause, types string
}

// store keeps facts in memory, as persistence/postgres does in its tables. fail, where set, is asked before each call; wait is
// called before that, outside of the lock.
type store struct {
	mu   sync.Mutex
	rows []*row
	fail func(call string) error
	wait func(call string)
	ears []func(uint16)
}

func (s *store) enter(call string) (func(), error) {
	if s.wait != nil {
		s.wait(call)
	}
	s.mu.Lock()
	if s.fail != nil {
		if err := s.fail(call); err != nil {
			s.mu.Unlock()
			return nil, err
		}
	}
	return s.mu.Unlock, nil
}

// add records a fact.
func (s *store) add(shard int, topic, aggregate string, version int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := fmt.Sprintf("%s-%d", aggregate, version)
	env := &eventsv1.Envelope{EventId: id, TenantId: "t", WarehouseId: "w", AggregateId: aggregate, Version: int64(version), Type: "task.started"}
	payload, err := env.MarshalVT()
	if err != nil {
		panic(err)
	}
	s.rows = append(s.rows, &row{shard: shard, Event: outbox.Event{
		EventID: id, TenantID: "t", AggregateType: "task", AggregateID: aggregate, Topic: topic, Key: aggregate, Payload: payload, CreatedAt: time.Now(),
	}})
	return id
}

func (s *store) find(id string) *row {
	for _, r := range s.rows {
		if r.EventID == id {
			return r
		}
	}
	panic("no row " + id)
}

// edit changes a row as somebody else would.
func (s *store) edit(id string, change func(r *row)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.find(id))
}

// look is a copy of a row.
func (s *store) look(id string) row {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.find(id)
}

func (s *store) parked(aggregate string) bool {
	return slices.ContainsFunc(s.rows, func(r *row) bool {
		return r.AggregateID == aggregate && (r.letter == "open" || r.letter == "retrying" || r.letter == "discarding")
	})
}

func (s *store) Claim(_ context.Context, shard int, topics, except []string, atMost int) ([]outbox.Event, error) {
	leave, err := s.enter("claim")
	if err != nil {
		return nil, err
	}
	defer leave()
	var out []outbox.Event
	for _, t := range topics {
		n := 0
		for _, r := range s.rows {
			if r.shard == shard && r.Topic == t && !r.sent && !r.dead && !r.held && !slices.Contains(except, r.AggregateID) && n < atMost {
				n++
				e := r.Event
				e.Parked = s.parked(r.AggregateID)
				out = append(out, e)
			}
		}
	}
	return out, nil
}

func (s *store) Sent(_ context.Context, events []outbox.Event) error {
	leave, err := s.enter("sent")
	if err != nil {
		return err
	}
	defer leave()
	for _, e := range events {
		s.find(e.EventID).sent = true
	}
	return nil
}

func (s *store) Hold(_ context.Context, events []outbox.Event) error {
	leave, err := s.enter("hold")
	if err != nil {
		return err
	}
	defer leave()
	for _, e := range events {
		if s.parked(e.AggregateID) {
			s.find(e.EventID).held = true
		}
	}
	return nil
}

func (s *store) Refuse(_ context.Context, e *outbox.Event, cause string, next time.Time) error {
	leave, err := s.enter("refuse")
	if err != nil {
		return err
	}
	defer leave()
	r := s.find(e.EventID)
	r.Attempts, r.next, r.cause = e.Attempts+1, next, cause
	return nil
}

func (s *store) Bury(_ context.Context, e *outbox.Event, eventType, cause string) error {
	leave, err := s.enter("bury")
	if err != nil {
		return err
	}
	defer leave()
	r := s.find(e.EventID)
	r.dead, r.letter, r.cause, r.types = true, "open", cause, eventType
	return nil
}

func (s *store) Handle(_ context.Context, shard int) (int, error) {
	leave, err := s.enter("handle")
	if err != nil {
		return 0, err
	}
	defer leave()
	n := 0
	for _, r := range s.rows {
		if r.shard != shard || r.letter != "retrying" && r.letter != "discarding" {
			continue
		}
		n++
		if r.letter == "retrying" {
			r.dead, r.Attempts = false, 0
		}
		r.letter = map[string]string{"retrying": "retried", "discarding": "discarded"}[r.letter]
		for _, x := range s.rows {
			if x.AggregateID == r.AggregateID {
				x.held = false
			}
		}
	}
	return n, nil
}

func (s *store) Waiting(_ context.Context, shard, _ int) ([]outbox.Wait, error) {
	leave, err := s.enter("waiting")
	if err != nil {
		return nil, err
	}
	defer leave()
	var out []outbox.Wait
	for _, r := range s.rows {
		if r.shard == shard && !r.sent && !r.dead && r.next.After(time.Now()) {
			out = append(out, outbox.Wait{AggregateID: r.AggregateID, Until: r.next})
		}
	}
	return out, nil
}

func (s *store) Pending(context.Context) (map[int][]string, []int, error) {
	leave, err := s.enter("pending")
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	topics, asked := map[int][]string{}, []int(nil)
	for _, r := range s.rows {
		if !r.sent && !r.dead && !r.held && !slices.Contains(topics[r.shard], r.Topic) {
			topics[r.shard] = append(topics[r.shard], r.Topic)
		}
		if r.letter == "retrying" || r.letter == "discarding" {
			asked = append(asked, r.shard)
		}
	}
	return topics, asked, nil
}

func (s *store) Lag(_ context.Context, _ []int, topics []string) ([]outbox.Lag, map[string]int, error) {
	leave, err := s.enter("lag")
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	var out []outbox.Lag
	parked := map[string]int{}
	for _, t := range topics {
		l := outbox.Lag{Topic: t}
		for _, r := range s.rows {
			if r.Topic == t && !r.sent && !r.dead {
				l.Pending++
				l.Age = max(l.Age, time.Since(r.CreatedAt))
			}
			if r.Topic == t && r.letter == "open" {
				parked[t]++
			}
		}
		out = append(out, l)
	}
	return out, parked, nil
}

func (s *store) Tidy(context.Context) error {
	leave, err := s.enter("tidy")
	if err != nil {
		return err
	}
	defer leave()
	for _, r := range s.rows {
		r.held = r.held && s.parked(r.AggregateID)
	}
	return nil
}

func (s *store) Listen(ctx context.Context, heard func(uint16)) {
	s.mu.Lock()
	s.ears = append(s.ears, heard)
	s.mu.Unlock()
	<-ctx.Done()
}

// ring tells all who listen.
func (s *store) ring(shards uint16) {
	s.mu.Lock()
	ears := slices.Clone(s.ears)
	s.mu.Unlock()
	for _, heard := range ears {
		heard(shards)
	}
}

func (s *store) undone() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rows {
		if !r.sent && !r.dead {
			out = append(out, r.EventID)
		}
	}
	return out
}

// house is what several workers share: whose a shard is.
type house struct {
	mu      sync.Mutex
	owner   map[int]*locks
	workers int
}

func newHouse() *house { return &house{owner: map[int]*locks{}} }

func (h *house) join() *locks {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.workers++
	return &locks{h: h, in: true}
}

// locks are one worker's. forget makes it lose all of them, as a broken connection does.
type locks struct {
	h  *house
	in bool // it is counted
}

// enter counts a worker that has closed its session.
func (l *locks) enter() {
	if !l.in {
		l.h.workers++
		l.in = true
	}
}

func (l *locks) Try(_ context.Context, shard int) (bool, error) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.enter()
	if l.h.owner[shard] == nil {
		l.h.owner[shard] = l
	}
	return l.h.owner[shard] == l, nil
}

func (l *locks) Held(shard int) bool {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	return l.h.owner[shard] == l
}

func (l *locks) Release(_ context.Context, shard int) error {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	if l.h.owner[shard] == l {
		delete(l.h.owner, shard)
	}
	return nil
}

func (l *locks) Workers(context.Context) (int, error) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.enter()
	return l.h.workers, nil
}

func (l *locks) Others(context.Context) (int, error) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	return l.h.workers, nil
}

func (l *locks) Close(context.Context) {
	l.forget()
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	if l.in {
		l.h.workers--
		l.in = false
	}
}

func (l *locks) forget() {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	for i, o := range l.h.owner {
		if o == l {
			delete(l.h.owner, i)
		}
	}
}

// sink keeps what it is given. fate, where set, decides about each message: nil = kept; kept says that it is kept in spite of
// the error, as when an answer is lost.
type sink struct {
	mu   sync.Mutex
	log  []outbox.Message
	fate func(m *outbox.Message) (err error, kept bool)
	gate func() // called at the beginning of each call, outside of the lock
	ping error  // what it tells whoever asks how it does
}

func (s *sink) Ping(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ping
}

func (s *sink) Publish(_ context.Context, messages []outbox.Message) []error {
	if s.gate != nil {
		s.gate()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := make([]error, len(messages))
	for i := range messages {
		kept := true
		if s.fate != nil {
			var err error
			if err, kept = s.fate(&messages[i]); err != nil {
				errs[i] = err
			} else {
				kept = true
			}
		}
		if kept {
			s.log = append(s.log, messages[i])
		}
	}
	return errs
}

func header(m *outbox.Message, key string) string {
	for _, h := range m.Headers {
		if h.Key == key {
			return h.Value
		}
	}
	return ""
}

// effects are the event ids of a topic in the order in which a reader that drops doubles takes them.
func (s *sink) effects(topic string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]bool{}
	var out []string
	for i := range s.log {
		if id := header(&s.log[i], "ce_id"); s.log[i].Topic == topic && !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out
}

func start(t *testing.T, o outbox.Options) *outbox.Pumps {
	t.Helper()
	p, err := outbox.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
