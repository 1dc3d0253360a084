package stream

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"starling/engine/fleet"
	"starling/engine/task"
	"starling/gateway/view"
)

// partBytes is about how large a part of a snapshot is.
const (
	partBytes = 256 << 10
	partItems = 1000
)

// taskFloor is what the hub's goroutine keeps of tasks.
type taskFloor struct {
	openings map[fleet.WarehouseID]*opening
	numbers  uint64 // of openings
	items    itemCache
	finders  []*sub // wait for the store's answer, the longest first; each is in it once
	finding  atomic.Int32
}

// maxFinding is how many questions of one tenant the store has at a time, and maxFound how many tasks one asks for: what
// is found is with the server until the client takes it.
const (
	maxFinding = 2
	maxFound   = 16
)

// tellTasks tells whoever waits for the next batch of a log.
func (h *hub) tellTasks(now time.Time, tasks []*sub) {
	h.tasks.tidy(now)
	h.ask()
	heads := map[fleet.WarehouseID]view.Place{}
	for _, s := range tasks {
		if s.left.Load() || s.phase != live {
			continue
		}
		at, ok := heads[s.warehouse]
		if !ok {
			at = h.views.Tasks.Head(now, s.warehouse)
			heads[s.warehouse] = at
		}
		switch {
		case at == s.place:
		case !s.busy.Load():
			h.pumpTasks(now, s)
		default: // it takes nothing while more and more waits for it
			s.more.Store(true)
			if _, _, ok := after(now, s, h.views.Tasks); !ok {
				cut(now, s, h.views.Tasks)
			}
		}
	}
}

// pumpTasks sends the next that a tasks subscription wants.
func (h *hub) pumpTasks(now time.Time, s *sub) {
	switch s.phase {
	case fresh:
		h.beginTasks(now, s)
		return
	case finding:
		h.found(s)
		return
	case snapshotting:
		if !h.roomFor(s) {
			h.later(s)
			return
		}
		h.taskPart(s)
		return
	case live:
	}
	for {
		next, behind, ok := after(now, s, h.views.Tasks)
		switch {
		case !ok && cut(now, s, h.views.Tasks):
			return
		case !ok && now.Sub(s.began) < resyncEvery: // tasks that come back after a restart do so one by one
			s.more.Store(false)
			return
		case !ok:
			h.resync(s)
			return
		case next == nil:
			s.more.Store(false)
			return
		}
		s.place.Seq = next.Seq
		if p := h.taskDelta(s, next); p != nil {
			s.more.Store(behind > len(next.Events))
			h.give(s, "delta", p, false)
			return
		}
	}
}

// beginTasks goes on where the client was, if that can be, or begins with what is open.
func (h *hub) beginTasks(now time.Time, s *sub) {
	s.allow = 0
	if s.since.Epoch != "" && s.tasks == nil {
		s.place = view.Place{Life: h.views.Tasks.Head(now, s.warehouse).Life, Seq: s.since.Seq}
		if _, _, ok := h.views.Tasks.After(now, s.warehouse, s.place); ok && h.logEpoch(s) == s.since.Epoch {
			s.phase, s.epoch, s.seq = live, s.since.Epoch, s.since.Seq
			h.begin(s, true)
			return
		}
	}
	s.began, s.list, s.open, s.absent, s.stored, s.told = now, nil, nil, nil, nil, false
	if s.tasks == nil {
		s.list = h.openingOf(now, s.warehouse)
		s.open, s.place = s.list.open, s.list.at
		s.seq = s.place.Seq
	} else {
		s.open, s.absent, s.place = h.views.Tasks.JoinSome(s.warehouse, slices.Sorted(maps.Keys(s.tasks)))
	}
	s.epoch = h.logEpoch(s)
	if len(s.absent) > 0 {
		h.seek(s) // the first of them come in one part with those that are open
		return
	}
	h.opened(s)
}

// opened goes on with a snapshot of which a part is at hand.
func (h *hub) opened(s *sub) {
	s.phase = snapshotting
	switch {
	case !s.told:
		s.told = true
		h.begin(s, false)
	case h.roomFor(s):
		h.taskPart(s)
	default:
		h.later(s)
	}
}

// opening is the open tasks of a warehouse and the place in its log from which what follows is new.
type opening struct {
	open   []*task.View
	at     view.Place
	taken  time.Time
	took   time.Duration
	number uint64 // of those of this hub
}

// A long list of open tasks serves all who come within openingShare times as long as it took to make, and not longer than
// openingFor: neither lists nor the time for them grow with the number of clients. The log tells what has happened since.
const (
	openingShare = 20
	openingFor   = 250 * time.Millisecond
	openingLong  = 1000
)

// openingOf lists the open tasks of a warehouse, or has a list that is still good.
func (h *hub) openingOf(now time.Time, w fleet.WarehouseID) *opening {
	f := &h.tasks
	began := time.Now()
	if o := f.openings[w]; o != nil && began.Sub(o.taken) < min(openingShare*o.took, openingFor) {
		if _, _, ok := h.views.Tasks.After(now, w, o.at); ok {
			return o
		}
	}
	f.numbers++
	o := &opening{number: f.numbers}
	o.open, o.at = h.views.Tasks.Join(w)
	if o.taken, o.took = time.Now(), time.Since(began); len(o.open) >= openingLong {
		if f.openings == nil {
			f.openings = map[fleet.WarehouseID]*opening{}
		}
		f.openings[w] = o
	}
	return o
}

// tidy forgets what serves nobody any more.
func (f *taskFloor) tidy(now time.Time) {
	maps.DeleteFunc(f.openings, func(_ fleet.WarehouseID, o *opening) bool { return now.Sub(o.taken) > openingFor })
	f.finders = slices.DeleteFunc(f.finders, func(s *sub) bool { return s.left.Load() })
	if now.Sub(f.items.used) > itemsFor {
		f.items = itemCache{}
	}
}

// itemCache is the JSON of open tasks, while snapshots of them are made.
type itemCache struct {
	made  map[*task.View][]byte
	bytes int
	used  time.Time
}

// The bounds of the cache: when it is full it begins anew.
const (
	itemsBytes = 32 << 20
	itemsFor   = 2 * time.Second
)

// itemOf is an open task's JSON.
func (h *hub) itemOf(v *task.View) []byte {
	c := &h.tasks.items
	b, ok := c.made[v]
	if !ok {
		b = h.taskItem(v)
		if c.bytes += len(b) + 100; c.made == nil || c.bytes > itemsBytes {
			c.made, c.bytes = map[*task.View][]byte{}, len(b)+100
		}
		c.made[v] = b
	}
	return b
}

// findFor is how long the store may take for an answer.
const findFor = 5 * time.Second

// seek has the store asked for the next of a subscription's tasks that were not open when it joined the log. The hub goes
// on meanwhile, and with the subscription afterwards.
func (h *hub) seek(s *sub) {
	s.phase = finding
	s.answer.Store(nil)
	h.tasks.finders = append(h.tasks.finders, s)
	h.ask()
}

// ask gives the store the next questions: a few at a time of one tenant, and none whose answer would have to wait with us.
// Who has got an answer and needs more stands at the end again.
func (h *hub) ask() {
	f := &h.tasks
	for range len(f.finders) {
		if f.finding.Load() >= maxFinding {
			return
		}
		s := f.finders[0]
		f.finders = slices.Delete(f.finders, 0, 1)
		switch {
		case s.left.Load():
		case !h.roomFor(s):
			f.finders = append(f.finders, s) // it is looked at with every beat
		default:
			n := min(len(s.absent), maxFound)
			ids := s.absent[:n]
			s.absent = s.absent[n:]
			f.finding.Add(1)
			h.srv.running.Go(func() { h.find(s, ids) }) // ends with the store's answer
		}
	}
}

// find reads tasks of a subscription from the store.
func (h *hub) find(s *sub, ids []fleet.TaskID) {
	ctx, cancel := context.WithTimeout(context.Background(), findFor)
	defer cancel()
	answered := make(chan struct{})
	defer close(answered)
	h.srv.running.Go(func() { // ends with the answer; nobody wants it after the last connection
		select {
		case <-h.done:
			cancel()
		case <-answered:
		}
	})
	found, err := h.srv.o.FindTasks(ctx, h.tenant, ids)
	h.tasks.finding.Add(-1)
	if err != nil {
		if !s.left.Load() {
			h.unanswered(s, "the tasks cannot be read now: subscribe again")
		}
		return
	}
	if s.warehouse != "" {
		found = slices.DeleteFunc(found, func(v task.View) bool { return v.Spec.Shard.Warehouse != s.warehouse })
	}
	s.answer.Store(&found)
	h.ready(s)
}

// unanswered ends a subscription of which the store cannot be asked. A WebSocket's client may subscribe again; where the
// subscription is all that there is, the client comes back by itself when the stream ends.
func (h *hub) unanswered(s *sub, why string) {
	x := s.session
	x.forget(s)
	n := int64(s.id)
	x.refuse(&n, &refusal{code: "UNAVAILABLE", message: why})
	if x.kind == "sse" {
		x.close(closeRestart, "unavailable", 1000)
	}
}

// found takes the store's answer. It may be newer than the place where the log was joined: steps that it has already are
// not told again.
func (h *hub) found(s *sub) {
	answer := s.answer.Swap(nil)
	h.ask()
	if answer == nil {
		return
	}
	if s.stored == nil {
		s.stored = map[fleet.TaskID]int64{}
	}
	for i := range *answer {
		v := &(*answer)[i]
		s.open = append(s.open, v)
		s.stored[v.Spec.ID] = v.Version
	}
	if len(s.open) == 0 && len(s.absent) > 0 {
		h.seek(s)
		return
	}
	h.opened(s)
}

func (h *hub) taskItem(v *task.View) []byte {
	b, _ := json.Marshal(h.srv.o.Task(v))
	return b
}

// taskPart sends the next part of the open tasks. Who gets the same at the same time shares it.
func (h *hub) taskPart(s *sub) {
	k := frameKey{what: "tasks snapshot", warehouse: s.warehouse, id: s.id, seq: s.seq, row: len(s.open)}
	if s.list != nil {
		k.from = s.list.number
	}
	p, ok := h.frames[k]
	if s.list == nil || !ok {
		p.payload, p.next = h.encodePart(s)
		if s.list != nil {
			h.frames[k] = p
		}
	}
	if s.open = s.open[p.next:]; len(s.open) == 0 {
		s.list, s.open = nil, nil
	}
	s.more.Store(true) // the rest, or what has happened since
	if len(s.open) == 0 && len(s.absent) == 0 {
		s.phase = live // from the last part a client may go on
	}
	h.give(s, "snapshot", p.payload, false)
	if len(s.open) == 0 && len(s.absent) > 0 {
		h.seek(s)
	}
}

// encodePart makes a part of a snapshot, of n tasks.
func (h *hub) encodePart(s *sub) (p *payload, n int) {
	b := append(head(nil, "snapshot", s), `,"items":[`...)
	for n < len(s.open) && n < partItems && (n == 0 || len(b) < partBytes) {
		if n > 0 {
			b = append(b, ',')
		}
		if s.list != nil {
			b = append(b, h.itemOf(s.open[n])...)
		} else {
			b = append(b, h.taskItem(s.open[n])...)
		}
		n++
	}
	h.tasks.items.used = time.Now()
	b = append(b, `],"more":`...)
	return &payload{data: append(strconv.AppendBool(b, n < len(s.open) || len(s.absent) > 0), '}')}, n
}

// taskDelta is a batch as a subscription is told of it; nil where nothing in it is for it.
func (h *hub) taskDelta(s *sub, batch *view.Batch) *payload {
	if s.tasks == nil {
		s.seq = batch.Seq
		k := frameKey{what: "tasks", warehouse: s.warehouse, id: s.id, seq: s.seq}
		m, ok := h.frames[k]
		if !ok {
			m.payload = &payload{data: h.encodeBatch(s, batch.Events)}
			h.frames[k] = m
		}
		return m.payload
	}
	var mine []*view.Transition
	for _, t := range batch.Events {
		if id := t.Task.Spec.ID; s.tasks[id] && t.Task.Version > s.stored[id] {
			mine = append(mine, t)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	s.seq++
	return &payload{data: h.encodeBatch(s, mine)}
}

func (h *hub) encodeBatch(s *sub, events []*view.Transition) []byte {
	b := append(head(nil, "delta", s), `,"events":[`...)
	for i, t := range events {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, t.Body(h.encodeTransition)...)
	}
	return append(b, `],"coalesced":0}`...)
}

// encodeTransition is the task after the step, and the step's name.
func (h *hub) encodeTransition(t *view.Transition) []byte {
	b := append([]byte(`{"type":"task_progress","data":`), h.taskItem(&t.Task)...)
	b = append(b[:len(b)-1], `,"event":"`...)
	b = append(b, t.Event...)
	return append(b, `"}}`...)
}
