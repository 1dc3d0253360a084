// Package memory keeps the facts of one process in memory, by the rules of persistence/postgres: for lock-step
// benches, simulations and tests. Nothing survives the process, nothing goes to an outbox, and neither tenants nor
// warehouses need to exist. persistence/storetest holds both stores to the same behaviour.
//
// Size: about 1.5 kB per task and 1 kB per robot, for as long as the process lives; idempotency keys are kept for
// ever. It is no store for a process that runs for weeks.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"starling/engine/alert"
	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// Options of a store; the zero value is usable.
type Options struct {
	Now   func() time.Time // stamps renewals; nil = time.Now
	Lease time.Duration    // 0 = 1.5 s
	Drift time.Duration    // 0 = 100 ms
}

// Store is the journal, the store and the ownership of one process. Safe for concurrent use.
type Store struct {
	now   func() time.Time
	lease time.Duration // and drift

	mu      sync.Mutex
	shards  map[fleet.Shard]*shard
	events  map[fleet.EventID]bool
	answers map[answerKey]*kept
	taskKey map[tenantKey]taskKey // for ever
	codes   map[tenantKey]fleet.RobotID
	audit   auditLog
}

type tenantKey struct {
	tenant fleet.TenantID
	key    string
}

type answerKey struct {
	tenant     fleet.TenantID
	route, key string
}

type kept struct {
	fingerprint []byte
	answer      fact.Answer
}

type shard struct {
	incarnation fleet.Incarnation
	owner       string
	renewedAt   time.Time
	tasks       map[fleet.TaskID]*taskLog
	robots      map[fleet.RobotID]*robotLog
	roster      map[fleet.ZoneID]map[fleet.RobotID]zone.RosterEntry
	maps        map[mapVersion]*roadmap.Graph
	active      mapVersion
	keepOut     []fleet.Vertex
	lanes       map[fleet.LaneID]dispatch.LaneState
	decisions   int
	alerts      map[alert.ID]alert.View
}

type mapVersion struct {
	id      fleet.MapID
	version int
}

type taskLog struct {
	events []fact.Recorded[task.Event]
	state  task.State
}

// taskKey is the task that was made with an idempotency key.
type taskKey struct {
	id          fleet.TaskID
	fingerprint []byte
}

type robotLog struct {
	spec       robot.Spec
	version    int64
	removed    bool
	registered time.Time
	connection *fact.Recorded[robot.Event]
	commands   []command
	last       robot.LastKnown
}

type command struct {
	id     fleet.CommandID
	events []fact.Recorded[robot.Event]
	stage  fleet.Stage
}

// New returns an empty store.
func New(o Options) *Store {
	s := &Store{
		now: o.Now, lease: o.Lease + o.Drift, shards: map[fleet.Shard]*shard{}, events: map[fleet.EventID]bool{},
		answers: map[answerKey]*kept{}, taskKey: map[tenantKey]taskKey{}, codes: map[tenantKey]fleet.RobotID{},
		audit: auditLog{},
	}
	if s.now == nil {
		s.now = time.Now
	}
	if o.Lease == 0 {
		s.lease += 1500 * time.Millisecond
	}
	if o.Drift == 0 {
		s.lease += 100 * time.Millisecond
	}
	return s
}

func (s *Store) shard(id fleet.Shard) *shard {
	sh := s.shards[id]
	if sh == nil {
		sh = &shard{
			tasks: map[fleet.TaskID]*taskLog{}, robots: map[fleet.RobotID]*robotLog{},
			roster: map[fleet.ZoneID]map[fleet.RobotID]zone.RosterEntry{}, maps: map[mapVersion]*roadmap.Graph{},
			lanes: map[fleet.LaneID]dispatch.LaneState{}, alerts: map[alert.ID]alert.View{},
		}
		s.shards[id] = sh
	}
	return sh
}

// AddMap uploads a map version; a dispatch.MapActivated that is recorded makes it the active one.
func (s *Store) AddMap(id fleet.Shard, g *roadmap.Graph) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shard(id).maps[mapVersion{g.MapID, g.Version}] = g
}

// SetKeepOut replaces the vertices of the active map that nobody may enter.
func (s *Store) SetKeepOut(id fleet.Shard, vertices []fleet.Vertex) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shard(id).keepOut = vertices
}

// Append implements actors.Journal. It never returns fact.ErrUnavailable or fact.ErrUnknown.
func (s *Store) Append(_ context.Context, units []fact.Unit) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := make([]error, len(units))
	for i := range units {
		errs[i] = s.append(&units[i])
	}
	return errs
}

// append records a unit or nothing of it.
func (s *Store) append(u *fact.Unit) error {
	sh := s.shard(u.Shard)
	if u.Incarnation != 0 && u.Incarnation != sh.incarnation {
		return fmt.Errorf("record in shard %s as incarnation %d of %d: %w", u.Shard.Key(), u.Incarnation, sh.incarnation, fact.ErrFenced)
	}
	if s.recorded(u) {
		return nil
	}
	w := writer{store: s, shard: sh, unit: u}
	if err := w.all(); err != nil {
		w.undo()
		return err
	}
	if u.Audit != nil {
		s.audit.add(*u.Audit)
	}
	return nil
}

// recorded says that the unit was recorded before: the same events, sent again.
func (s *Store) recorded(u *fact.Unit) bool {
	for i := range u.Facts {
		if !s.events[u.Facts[i].ID] {
			return false
		}
	}
	return len(u.Facts) > 0
}

// Recorded implements actors.Journal.
func (s *Store) Recorded(_ context.Context, _ fleet.Shard, ids []fleet.EventID) ([]bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := make([]bool, len(ids))
	for i, id := range ids {
		known[i] = s.events[id]
	}
	return known, nil
}

// FirstAnswer is the answer that was recorded with an idempotency key, and the fingerprint of its body; nil where the
// key is new.
func (s *Store) FirstAnswer(_ context.Context, tenant fleet.TenantID, route, key string) (fingerprint []byte, answer *fact.Answer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.answers[answerKey{tenant, route, key}]
	if k == nil {
		return nil, nil, nil
	}
	a := k.answer
	return bytes.Clone(k.fingerprint), &a, nil
}

// Take implements actors.Ownership.
func (s *Store) Take(_ context.Context, id fleet.Shard, owner string) (fleet.Incarnation, time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shard(id)
	sh.incarnation++
	sh.owner = owner
	if sh.renewedAt.IsZero() {
		return sh.incarnation, 0, nil
	}
	return sh.incarnation, max(0, sh.renewedAt.Add(s.lease).Sub(s.now())), nil
}

// Renew implements actors.Ownership.
func (s *Store) Renew(_ context.Context, owner string, held []fact.Held) ([]bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ok := make([]bool, len(held))
	for i, h := range held {
		if sh := s.shard(h.Shard); sh.owner == owner && sh.incarnation == h.Incarnation {
			sh.renewedAt, ok[i] = s.now(), true
		}
	}
	return ok, nil
}
