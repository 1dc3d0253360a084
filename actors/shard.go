package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
)

// phase is how far a shard is in our hands.
type phase int32

const (
	phaseClosed  phase = iota // not taken, or the last try failed
	phaseOpening              // being taken and loaded
	phaseOpen
	phaseLost    // a newer owner was found; it is not taken again by itself
	phaseStopped // the system has ended
)

// shard is one warehouse in our hands: the directory of its actors, its floor, its journal writer, its lease.
type shard struct {
	sys  *System
	id   fleet.Shard
	key  string
	lane *lane

	phase atomic.Int32
	inc   atomic.Int64
	lease atomic.Pointer[time.Time] // no grants from then on
	until atomic.Pointer[time.Time] // no grants before (the former owner's lease)
	floor atomic.Pointer[floor]
	rates atomic.Pointer[robot.Sampling] // at which robots are watched, nil = the usual ones

	mu      sync.RWMutex
	opening chan struct{}
	err     error // why the last opening failed
	boxes   [kinds]map[string]*box
	leaving []*box // zones of a former map that have not yet ended

	writer  writer
	snaps   snapshots
	told    told
	reviews reviews
	first   *fact.WarehouseRecord // what opening loaded, for the warehouse's first activation
	ticks   [3]ticker
	tick    uint64
}

func newShard(s *System, id fleet.Shard) *shard {
	sh := &shard{sys: s, id: id, key: id.Key(), lane: s.pool.lane(id.Tenant)}
	for k := range sh.boxes {
		sh.boxes[k] = map[string]*box{}
	}
	sh.writer.init(s, sh)
	sh.snaps.init(s, sh)
	sh.ticks[0].init(s, s.ZoneTick, sh.tickZones)
	sh.ticks[1].init(s, s.DispatchInterval, sh.tickWarehouse)
	sh.ticks[2].init(s, min(s.SnapshotEvery, s.SweepEvery)/snapshotTicks, sh.housekeep())
	return sh
}

func (sh *shard) incarnation() fleet.Incarnation { return fleet.Incarnation(sh.inc.Load()) }

func (sh *shard) is() phase { return phase(sh.phase.Load()) }

// open returns the shard in working order, taking and loading it where needed.
func (s *System) open(ctx context.Context, id fleet.Shard) (*shard, error) {
	s.mu.RLock()
	sh := s.shards[id]
	s.mu.RUnlock()
	if sh != nil && sh.is() == phaseOpen {
		return sh, nil
	}
	if s.closing.Load() {
		return nil, fmt.Errorf("system is stopping: %w", fact.ErrUnavailable)
	}
	if sh == nil {
		s.mu.Lock()
		if sh = s.shards[id]; sh == nil {
			sh = newShard(s, id)
			s.shards[id] = sh
		}
		s.mu.Unlock()
	}
	a, err := sh.begin()
	if err != nil || a == nil {
		return sh, err
	}
	if err := s.await(ctx, a); err != nil {
		return nil, fmt.Errorf("open shard %s: %w", sh.key, err)
	}
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if sh.err != nil {
		return nil, sh.err
	}
	return sh, sh.refusal()
}

// begin starts opening, or joins an opening under way; a nil ask means that the shard is open.
func (sh *shard) begin() (*ask, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	switch sh.is() {
	case phaseOpen:
		return nil, nil
	case phaseLost, phaseStopped:
		return nil, sh.refusal()
	case phaseClosed:
		if !sh.sys.placement.Owns(sh.id) {
			return nil, fmt.Errorf("shard %s is placed on another member: %w", sh.key, fact.ErrUnavailable)
		}
		sh.phase.Store(int32(phaseOpening))
		sh.opening = make(chan struct{})
		sh.err = nil
		sh.sys.pool.async(sh.load)
	case phaseOpening:
	}
	return &ask{ready: sh.opening}, nil
}

// refusal is what a caller is told while the shard is not open.
func (sh *shard) refusal() error {
	switch sh.is() {
	case phaseOpen, phaseOpening:
		return nil
	case phaseLost:
		return fmt.Errorf("shard %s: %w: %w", sh.key, fact.ErrFenced, fact.ErrUnavailable)
	case phaseClosed, phaseStopped:
	}
	return fmt.Errorf("shard %s is not open: %w", sh.key, fact.ErrUnavailable)
}

// load takes the shard and reads what its warehouse is. It runs off the pool.
func (sh *shard) load() {
	err := sh.take()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.err = err
	if errors.Is(err, fact.ErrNotFound) {
		sh.sys.drop(sh) // there is no such warehouse: nothing to remember
	}
	if err != nil {
		sh.phase.Store(int32(phaseClosed))
		sh.sys.metrics.wrong("open").Inc()
	} else {
		sh.phase.Store(int32(phaseOpen))
	}
	close(sh.opening)
}

func (sh *shard) take() error {
	s := sh.sys
	ctx, cancel := context.WithTimeout(s.ctx, appendTimeout)
	defer cancel()
	sh.lease.Store(&fleet.Far)
	if s.Ownership != nil {
		inc, wait, err := s.Ownership.Take(ctx, sh.id, s.Owner)
		if err != nil {
			return fmt.Errorf("take shard %s: %w", sh.key, err)
		}
		none, until := time.Time{}, s.now().Add(wait)
		sh.inc.Store(int64(inc))
		sh.lease.Store(&none)
		if wait > 0 {
			sh.until.Store(&until)
		}
	}
	rec, err := s.Store.LoadWarehouse(ctx, sh.id)
	if err != nil {
		return fmt.Errorf("load warehouse %s: %w", sh.key, err)
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.first = &rec
	sh.create(kindWarehouse, "", false)
	sh.create(kindAlerts, "", false)
	if rec.Graph != nil {
		sh.lay(rec.Graph)
	}
	for i := range rec.Tasks { // nobody has assigned them yet: their actors sleep until then, but they are open
		v := rec.Tasks[i]
		s.Views.ShowTask(sh.id, &v)
	}
	for _, id := range rec.Held {
		sh.create(kindTask, string(id), false)
	}
	for i := range sh.ticks {
		sh.ticks[i].start(s.now())
	}
	s.metrics.shards.Inc()
	s.lease.now()
	s.log.LogAttrs(ctx, slog.LevelInfo, "shard opened", slog.String("event", "shard.opened"),
		slog.String("shard", sh.key), slog.Int64("incarnation", sh.inc.Load()), slog.Int("held_tasks", len(rec.Held)))
	return nil
}

// create starts an activation; mu is held. It takes mail at once and handles it when it has loaded.
func (sh *shard) create(k kind, id string, fresh bool) *box {
	b := sh.enrol(k, id, fresh)
	b.spawn()
	return b
}

// enrol makes a box that takes mail and does not live yet; mu is held.
func (sh *shard) enrol(k kind, id string, fresh bool) *box {
	s := sh.sys
	b := &box{sys: s, sh: sh, kind: k, id: id, fresh: fresh}
	b.mailbox.box, b.mailbox.pool, b.mailbox.gated = b, s.pool, true
	b.mailbox.owner, b.mailbox.lane = &b.mailbox, sh.lane
	b.timer.owner = b
	if k == kindZone {
		b.gone = make(chan struct{})
	}
	sh.boxes[k][id] = b
	s.metrics.active.WithLabelValues(k.String()).Inc()
	return b
}

// spawn lets an enrolled box live.
func (b *box) spawn() {
	props := actor.PropsFromProducer(b.incarnate, actor.WithMailbox(func() actor.Mailbox { return &b.mailbox }),
		actor.WithDispatcher(b.sys.pool))
	b.sys.placement.Spawn(b.sh.id, b.kind.String(), b.id, props, b.spawned)
}

// spawned takes the PID; where the spawn failed, the activation is over before it began.
func (b *box) spawned(pid *actor.PID, err error) {
	if err == nil {
		b.pid.Store(pid)
		if b.isSealed() {
			b.stop()
		}
		return
	}
	b.sys.metrics.wrong("spawn").Inc()
	rest := b.seal()
	b.sh.forget(b)
	b.sys.metrics.active.WithLabelValues(b.kind.String()).Dec()
	for _, m := range rest {
		if a, ok := m.(*ask); ok {
			a.fail(fmt.Errorf("start %s: %w: %w", b.kind, err, fact.ErrUnavailable))
		}
	}
	if b.gone != nil {
		close(b.gone)
	}
}

// stop asks the placement to end the actor. Before the PID is known, spawned does it.
func (b *box) stop() {
	if pid := b.pid.Load(); pid != nil {
		b.sys.placement.Stop(b.sh.id, b.kind.String(), b.id, pid)
	}
}

// find returns the activation, started where needed: robots and tasks at any time, zones and the warehouse only
// by the floor. nil = there is none.
func (sh *shard) find(k kind, id string) *box { return sh.findOr(k, id, false) }

// findOr is find; fresh says that the store cannot know the aggregate yet.
func (sh *shard) findOr(k kind, id string, fresh bool) *box {
	sh.mu.RLock()
	b := sh.boxes[k][id]
	sh.mu.RUnlock()
	if b != nil || k == kindZone || k == kindWarehouse || k == kindAlerts {
		return b
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if b = sh.boxes[k][id]; b != nil {
		return b
	}
	if p := sh.is(); p != phaseOpen && p != phaseOpening {
		return nil
	}
	if len(sh.boxes[kindRobot])+len(sh.boxes[kindTask]) >= sh.sys.MaxActors {
		sh.sys.metrics.dropped("actors").Inc()
		return nil
	}
	return sh.create(k, id, fresh)
}

// forget takes the activation out of the directory: who asks from now on gets a new one.
func (sh *shard) forget(b *box) {
	sh.mu.Lock()
	if sh.boxes[b.kind][b.id] == b {
		delete(sh.boxes[b.kind], b.id)
	}
	sh.mu.Unlock()
}

// tell posts a control message to an actor, activating it where needed. It never blocks.
func (sh *shard) tell(k kind, id string, m any) error {
	for range 4 {
		b := sh.find(k, id)
		if b == nil {
			break
		}
		if b.post(m) {
			return nil
		}
		if !b.isSealed() {
			sh.sys.metrics.dropped("mailbox_" + k.String()).Inc()
			return errFull
		}
		sh.forget(b) // it is on its way out
	}
	if err := sh.refusal(); err != nil {
		return err
	}
	sh.sys.metrics.dropped("no_" + k.String()).Inc()
	return fmt.Errorf("%s is not there: %w", k, fact.ErrUnavailable)
}

// resend gives mail that an ended activation had not read to the next one.
func (sh *shard) resend(b *box, rest []any) {
	for _, m := range rest {
		if err := sh.tell(b.kind, b.id, m); err != nil {
			if a, ok := m.(*ask); ok {
				a.fail(err)
			}
		}
	}
}

// members lists the activations of a kind in order of their ids.
func (sh *shard) members(k kind) []*box {
	sh.mu.RLock()
	list := make([]*box, 0, len(sh.boxes[k]))
	for _, b := range sh.boxes[k] {
		list = append(list, b)
	}
	sh.mu.RUnlock()
	slices.SortFunc(list, func(a, b *box) int { return strings.Compare(a.id, b.id) })
	return list
}

// drop forgets a shard.
func (s *System) drop(sh *shard) {
	s.mu.Lock()
	if s.shards[sh.id] == sh {
		delete(s.shards, sh.id)
	}
	s.mu.Unlock()
}

// fenced drops a shard that has a newer owner.
func (s *System) fenced(sh *shard, where string) {
	if !sh.close(phaseLost) {
		return
	}
	s.metrics.wrong("fenced").Inc()
	s.log.LogAttrs(s.ctx, slog.LevelError, "shard has a newer owner", slog.String("event", "shard.fenced"),
		slog.String("shard", sh.key), slog.String("where", where), slog.Int64("incarnation", sh.inc.Load()))
	if s.Lost != nil {
		s.Lost(sh.id)
	}
}

// close ends all actors of the shard; false = they had ended before.
func (sh *shard) close(to phase) bool {
	sh.mu.Lock()
	if p := sh.is(); p == phaseLost || p == phaseStopped {
		sh.mu.Unlock()
		return false
	}
	was := sh.is()
	sh.phase.Store(int32(to))
	none := time.Time{}
	sh.lease.Store(&none)
	var all []*box
	for k := range sh.boxes {
		for _, b := range sh.boxes[k] {
			all = append(all, b)
		}
		sh.boxes[k] = map[string]*box{}
	}
	sh.mu.Unlock()
	for i := range sh.ticks {
		sh.ticks[i].stop()
	}
	if was == phaseOpen {
		sh.sys.metrics.shards.Dec()
	}
	if f := sh.floor.Load(); f != nil && f.tables != nil {
		sh.sys.tables.drop(f.tables) // another life of the shard has tables of its own
	}
	err := sh.refusal()
	for _, b := range all {
		for _, m := range b.seal() {
			if a, ok := m.(*ask); ok {
				a.fail(err)
			}
		}
	}
	sh.sys.placement.StopShard(sh.id)
	return true
}

// TakeShard takes a shard again that was lost to a newer owner, by raising its incarnation. For whoever decides
// about placement; requests alone never do it, lest two members take turns.
func (s *System) TakeShard(ctx context.Context, id fleet.Shard) error {
	s.mu.Lock()
	if sh := s.shards[id]; sh != nil && sh.is() == phaseLost {
		delete(s.shards, id)
	}
	s.mu.Unlock()
	_, err := s.open(ctx, id)
	return err
}

// collect asks every robot that has changed for its newest state.
func (sh *shard) collect() {
	for _, b := range sh.members(kindRobot) {
		if b.dirty.Swap(false) {
			b.postFront(snapshot{})
		}
	}
}

// sweep ends activations that nobody has needed for long.
func (sh *shard) sweep(now time.Time) {
	for _, k := range []kind{kindRobot, kindTask} {
		limit := sh.sys.RobotIdle
		if k == kindTask {
			limit = sh.sys.TaskIdle
		}
		for _, b := range sh.members(k) {
			if since := b.idle.Load(); since != 0 && now.UnixNano()-since >= int64(limit) {
				b.postFront(passing{})
			}
		}
	}
}

// snapshotTicks is how often it is looked whether robots are to be saved, within SnapshotEvery. They are with the last but
// one of these: a tick that comes late, gathering and the store's own time still keep what is saved younger than that.
const snapshotTicks = 5

// housekeep returns what runs on the slow ticker.
func (sh *shard) housekeep() func(time.Time) {
	var collected, swept time.Time
	return func(now time.Time) {
		if now.Sub(collected) > sh.sys.SnapshotEvery*(snapshotTicks-2)/snapshotTicks {
			collected = now
			sh.sys.pool.async(sh.collect)
		}
		if now.Sub(swept) >= sh.sys.SweepEvery {
			swept = now
			sh.sys.pool.async(func() { sh.sweep(now) })
		}
	}
}
