package stream

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"starling/engine/alert"
	"starling/engine/fleet"
	"starling/engine/task"
	"starling/gateway/view"
)

type channel string

const (
	chanRobots channel = "robots"
	chanZones  channel = "zones"
	chanTasks  channel = "tasks"
	chanAlerts channel = "alerts"
	chanHeat   channel = "congestion"
)

var channels = [...]channel{chanRobots, chanZones, chanTasks, chanAlerts, chanHeat}

// conflates says that a channel carries state, of which the newest is enough.
func (c channel) conflates() bool { return c != chanTasks && c != chanAlerts }

type rect struct{ x0, y0, x1, y1 float64 }

func (r *rect) holds(x, y float64) bool { return x >= r.x0 && x <= r.x1 && y >= r.y0 && y <= r.y1 }

// sub is one subscription. What stands below "hub's" belongs to the hub's round.
type sub struct {
	session   *session
	class     *class // of state: with whom it is told
	at        int    // where it stands in the hub's list, guarded by the hub's mutex
	id        uint32
	channel   channel
	warehouse fleet.WarehouseID // "" = all
	robots    idSet             // nil = all
	tasks     map[fleet.TaskID]bool
	alerts    alertSub
	rect      *rect
	rate      int // tenths of a hertz
	detail    bool
	since     sinceWish

	busy atomic.Bool // a frame of it is not written yet
	more atomic.Bool // there is more to send as soon as it is
	left atomic.Bool

	// The hub's.
	phase  phase
	epoch  string
	seq    uint64
	rev    uint64 // state: what the client has
	next   int    // state: the row that the snapshot goes on with
	rows   int
	known  []uint64 // bit set of rows that the client has, where it does not have all
	marks  []mark   // the parts of the snapshot, until the first delta
	sum    uint64   // of the marks: who has the same may share
	inStep bool     // state: the client has what its class was told, no more and no less
	place  view.Place
	gave   time.Time              // the frame that is under way, if one is
	list   *opening               // tasks: what the snapshot is of, where it is of all
	open   []*task.View           // tasks: the rest of the snapshot, as far as it is known
	absent []fleet.TaskID         // tasks: those whose place in the snapshot the store must fill
	told   bool                   // tasks: that the snapshot begins
	stored map[fleet.TaskID]int64 // tasks: versions of those in the snapshot that are not open
	began  time.Time              // tasks: with the last snapshot
	allow  int                    // tasks: how many transitions it may be behind; 0 = as many as now, and more

	answer atomic.Pointer[[]task.View] // tasks: what the store has of the next that are not open
}

// mark is a part of a snapshot: the rows before end were sent as they were at rev.
type mark struct {
	end int
	rev uint64
}

type phase uint8

const (
	fresh        phase = iota // nothing has been said
	finding                   // the store is asked for tasks
	snapshotting              // parts of the snapshot are under way
	live
)

// partial says that the client has only some of the robots, so that we must remember which.
func (s *sub) partial() bool { return s.rect != nil }

func (s *sub) knows(row int) bool { return row>>6 < len(s.known) && s.known[row>>6]&(1<<(row&63)) != 0 }

func (s *sub) know(row int, yes bool) {
	for row>>6 >= len(s.known) {
		s.known = append(s.known, 0)
	}
	if yes {
		s.known[row>>6] |= 1 << (row & 63)
	} else {
		s.known[row>>6] &^= 1 << (row & 63)
	}
}

func (s *sub) mark(rev uint64) {
	const prime = 1099511628211
	s.marks = append(s.marks, mark{s.next, rev})
	s.sum = ((s.sum^uint64(s.next))*prime ^ rev) * prime
}

// unsent says that what was removed from a row had gone before the snapshot came to it.
func (s *sub) unsent(row int, removed uint64) bool {
	for _, m := range s.marks {
		if row < m.end {
			return removed <= m.rev
		}
	}
	return false
}

// hub tells one tenant's subscribers what is new. One goroutine makes all frames: what is encoded once serves all.
type hub struct {
	srv    *Server
	tenant fleet.TenantID
	views  *view.Tenant
	conns  int // guarded by the server
	done   chan struct{}
	wake   chan struct{}

	mu    sync.Mutex
	subs  map[channel][]*sub
	queue []*sub // have room again, and more to be sent

	began   time.Time
	mirror  mirror
	zones   stateFrames
	heat    stateFrames
	grounds map[fleet.WarehouseID]*ground // where zones that are told of have lanes
	classes [len(rates) * phases]class
	frames  map[frameKey]made // of this round
	tasks   taskFloor
	alerts  alertFloor
	turn    int // who comes first, each beat another
}

// class is the subscriptions that are told at the same time, and share frames: those of one rate, or, where they are many, a
// part of them, so that not all are told at once.
type class struct {
	members int // guarded by the hub's mutex
	every   time.Duration
	offset  time.Duration
	due     time.Duration // since the hub began
	rev     uint64        // of the round before
	base    bases
	zones   stateBase
	heat    stateBase
}

// phases is how many classes a rate may have, and crowded how many subscriptions a class has before the next one is begun.
const (
	phases  = 8
	crowded = 200
)

// classesOf are the classes of a rate, each told at its own time.
func (h *hub) classesOf(rate int) []class {
	i, every := slices.Index(rates[:], rate)*phases, 10*time.Second/time.Duration(rate)
	return h.classes[i : i+min(phases, int(every/beat))] // not more than there are beats
}

// classFor chooses the class of a new subscription. The caller holds the mutex.
func (h *hub) classFor(rate int) *class {
	all := h.classesOf(rate)
	best := &all[0]
	for i := range all {
		if all[i].members < crowded {
			return &all[i]
		}
		if all[i].members < best.members {
			best = &all[i]
		}
	}
	return best
}

// frameKey is all that a frame's bytes depend on within a round.
type frameKey struct {
	what            string
	warehouse       fleet.WarehouseID
	id              uint32
	seq, from, upto uint64
	sum             uint64
	row             int
}

// made is a frame that others may get too: no payload = there is nothing to tell.
type made struct {
	payload *payload
	next    int // a part's: the row that the next one begins with
	last    bool
}

// beat is how often the hub looks.
const beat = 50 * time.Millisecond

func newHub(s *Server, tenant fleet.TenantID) *hub {
	h := &hub{
		srv: s, tenant: tenant, views: s.o.Views.Tenant(tenant), done: make(chan struct{}), wake: make(chan struct{}, 1),
		began: time.Now(), subs: map[channel][]*sub{}, frames: map[frameKey]made{},
	}
	h.mirror.hub = h
	for _, rate := range rates {
		all := h.classesOf(rate)
		for i := range all {
			every := 10 * time.Second / time.Duration(rate)
			all[i].every, all[i].offset = every, (every * time.Duration(i) / time.Duration(len(all))).Truncate(beat)
		}
	}
	return h
}

func (h *hub) run() {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-h.done:
			return
		case now := <-tick.C:
			h.round(now, true)
		case <-h.wake:
			h.round(time.Now(), false)
		}
	}
}

func (h *hub) stir() {
	select {
	case h.wake <- struct{}{}:
	default: // it is awake already
	}
}

func (h *hub) add(s *sub) {
	s.more.Store(true)
	h.mu.Lock()
	if s.channel.conflates() {
		s.class = h.classFor(s.rate)
		s.class.members++
	}
	s.at = len(h.subs[s.channel])
	h.subs[s.channel] = append(h.subs[s.channel], s)
	h.queue = append(h.queue, s)
	h.mu.Unlock()
	h.srv.metrics.subs.WithLabelValues(string(s.channel)).Inc()
	h.stir()
}

func (h *hub) drop(s *sub) {
	if s.left.Swap(true) {
		return
	}
	h.mu.Lock()
	if l := h.subs[s.channel]; s.at < len(l) && l[s.at] == s { // else it has not come yet
		last := l[len(l)-1]
		l[s.at], last.at, l[len(l)-1] = last, s.at, nil
		h.subs[s.channel] = l[:len(l)-1]
		if s.class != nil {
			s.class.members--
		}
	}
	h.mu.Unlock()
	h.srv.metrics.subs.WithLabelValues(string(s.channel)).Dec()
}

// ready says that a subscription with more to send has room again.
func (h *hub) ready(s *sub) {
	h.mu.Lock()
	h.queue = append(h.queue, s)
	h.mu.Unlock()
	h.stir()
}

// later comes back to a subscription with the next beat.
func (h *hub) later(s *sub) {
	h.mu.Lock()
	h.queue = append(h.queue, s)
	h.mu.Unlock()
}

// round tells who can be told. Only a beat tells of changed state.
func (h *hub) round(now time.Time, beaten bool) {
	h.mu.Lock()
	queue := h.queue
	h.queue = nil
	var robots, zones, heat, tasks, alerts []*sub
	var due []*class
	if beaten {
		for i := range h.classes {
			if c := &h.classes[i]; c.members > 0 && now.Sub(h.began) >= c.due {
				due = append(due, c)
			}
		}
		h.turn++
		robots, zones, heat = h.inTurn(chanRobots), h.inTurn(chanZones), h.inTurn(chanHeat)
		tasks, alerts = h.inTurn(chanTasks), h.inTurn(chanAlerts)
	}
	looked, crossed := len(h.subs[chanRobots]) > 0, len(h.subs[chanZones]) > 0
	h.mu.Unlock()
	if !looked {
		h.mirror.forget()
	}
	if !crossed {
		h.grounds = nil
	}
	began := time.Now()
	for i, s := range queue {
		if i > 0 && time.Since(began) > beat/2 { // who is due at this beat does not wait for all who have just come
			h.mu.Lock()
			h.queue = append(queue[i:], h.queue...)
			h.mu.Unlock()
			h.stir()
			break
		}
		if !s.left.Load() && !s.busy.Load() {
			h.goOn(now, s)
		}
	}
	if beaten && len(robots)+len(zones)+len(heat)+len(tasks)+len(alerts) > 0 {
		h.tellTasks(now, tasks)
		h.tellAlerts(now, alerts)
		for _, c := range due {
			h.tellState(now, c, robots, zones, heat)
		}
		h.srv.metrics.rounds.Observe(time.Since(began).Seconds())
		h.srv.relieve(now)
	}
	clear(h.frames)
}

// inTurn lists a channel's subscriptions, with another one at the head each time: where there is no room for all, it is
// not always the same who wait.
func (h *hub) inTurn(c channel) []*sub {
	l := h.subs[c]
	if len(l) == 0 {
		return nil
	}
	k := h.turn % len(l)
	return append(append(make([]*sub, 0, len(l)), l[k:]...), l[:k]...)
}

// goOn sends what a subscription waits for besides the beat: its first words, its snapshot, the events it lags behind.
func (h *hub) goOn(now time.Time, s *sub) {
	switch {
	case s.channel == chanTasks:
		h.pumpTasks(now, s)
	case s.channel == chanAlerts:
		h.pumpAlerts(now, s)
	case s.phase == fresh:
		switch s.phase = snapshotting; s.channel {
		case chanRobots:
			h.mirror.refresh()
			s.rev, s.rows = h.mirror.upto, len(h.mirror.rows)
		case chanHeat:
			s.rev, s.rows = h.views.Heat.Now()
		case chanZones, chanTasks, chanAlerts:
			s.rev, s.rows = h.views.Zones.Now()
		}
		s.next, s.known, s.inStep, s.marks, s.sum = 0, nil, false, nil, 0
		s.epoch = h.srv.boot + "-s"
		h.begin(s, false)
	case s.phase == snapshotting:
		if !h.roomFor(s) {
			h.later(s)
			return
		}
		switch s.channel {
		case chanRobots:
			h.mirror.part(s)
		case chanHeat:
			statePart(h, s, h.heatOf(s, nil))
		case chanZones, chanTasks, chanAlerts:
			statePart(h, s, h.zonesOf(s, nil))
		}
	}
}

// roomFor says that a subscription's last frame has left, and that there may be more on its way to its client, and to all.
func (h *hub) roomFor(s *sub) bool {
	return !s.busy.Load() && s.session.queued.Load() < maxUnread && h.srv.queued.Load() < h.srv.o.MaxQueued
}

// begin says "subscribed".
func (h *hub) begin(s *sub, recovered bool) {
	why := "asked"
	if s.since.Epoch != "" {
		why = "recovery"
	}
	if !recovered {
		h.srv.metrics.snapshots.WithLabelValues(why).Inc()
	}
	b := fmt.Appendf(nil, `{"op":"subscribed","id":%d,"epoch":%q,"seq":%d,"recovered":%t,"rate_hz":%s}`,
		s.id, s.epoch, s.seq, recovered, strconv.FormatFloat(float64(s.rate)/10, 'g', -1, 64))
	s.more.Store(true)
	h.give(s, "subscribed", &payload{data: b}, false)
}

// give sends a subscription's frame. One is under way at a time.
func (h *hub) give(s *sub, op string, p *payload, binary bool) {
	s.gave = time.Now()
	s.busy.Store(true)
	f := &frame{op: op, payload: p, binary: binary, epoch: s.epoch, seq: s.seq, partial: s.phase == snapshotting, sub: s}
	if !s.session.send(f) {
		s.busy.Store(false)
		if s.left.Load() || s.session.ended.Load() {
			return
		}
		h.srv.metrics.dropped.WithLabelValues("frames").Inc()
		s.session.close(closeSlow, "slow_consumer", 1000)
	}
}

// resync begins a subscription again, where it cannot go on from what the client has.
func (h *hub) resync(s *sub) {
	s.phase, s.since = fresh, sinceWish{}
	s.more.Store(true)
	if !s.busy.Load() {
		h.ready(s)
	}
}

// tellState tells the subscriptions of one class what has changed.
func (h *hub) tellState(now time.Time, c *class, robots, zones, heat []*sub) {
	c.due = (now.Sub(h.began)-c.offset)/c.every*c.every + c.every + c.offset
	told, toldZones, toldHeat := false, false, false
	for _, s := range robots {
		if s.class == c && s.phase == live && !s.left.Load() {
			if !told {
				told = true
				h.mirror.refresh()
			}
			h.mirror.delta(s, c)
		}
	}
	if told {
		h.mirror.remember(c)
	}
	for _, s := range zones {
		if s.class == c && s.phase == live && !s.left.Load() {
			stateDelta(h, s, c, h.zonesOf(s, &c.zones))
			toldZones = true
		}
	}
	if toldZones {
		remember(&c.zones, h.views.Zones)
	}
	for _, s := range heat {
		if s.class == c && s.phase == live && !s.left.Load() {
			stateDelta(h, s, c, h.heatOf(s, &c.heat))
			toldHeat = true
		}
	}
	if toldHeat {
		remember(&c.heat, h.views.Heat)
	}
}

// head begins a message; what follows is `"events":[…` or `"items":[…`.
func head(b []byte, op string, s *sub) []byte {
	b = append(b, `{"op":"`...)
	b = append(b, op...)
	b = append(b, `","id":`...)
	b = strconv.AppendUint(b, uint64(s.id), 10)
	b = append(b, `,"seq":`...)
	return strconv.AppendUint(b, s.seq, 10)
}

// logEpoch names the numbers of a subscription to events: a process, a tenant's log, a life of it. Where only some are
// followed the numbers are the subscription's own, and mean nothing to another one.
func (h *hub) logEpoch(s *sub) string {
	if s.tasks != nil || s.alerts.least != alert.NoLevel {
		return h.srv.boot + "-" + uuid.NewString()[:13]
	}
	f := fnv.New64a()
	_, _ = f.Write([]byte(string(h.tenant) + "/" + string(s.warehouse)))
	if s.channel != chanTasks {
		_, _ = f.Write([]byte("/" + s.channel))
	}
	return fmt.Sprintf("%s-%x-%x", h.srv.boot, f.Sum64(), s.place.Life)
}
