package stream

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/task"
	"starling/gateway/view"
)

// maxBehind is how many transitions a client may be behind: the log is its queue.
const maxBehind = 4096

// partBytes is about how large a part of a snapshot is.
const (
	partBytes = 256 << 10
	partItems = 1000
)

// resyncEvery is how often a subscription may begin anew by itself.
const resyncEvery = time.Second

// tellTasks tells whoever waits for the next batch of a log.
func (h *hub) tellTasks(now time.Time, tasks []*sub) {
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
			h.after(now, s)
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
		next, behind, ok := h.after(now, s)
		switch {
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

// after looks for what a subscription must be told next, and closes the connection of a client that is too far behind.
// Who comes back far behind, or was long about its snapshot, may be as far behind as it was then.
func (h *hub) after(now time.Time, s *sub) (next *view.Batch, behind int, ok bool) {
	next, behind, ok = h.views.Tasks.After(now, s.warehouse, s.place)
	switch {
	case !ok:
		return nil, 0, false // it starts anew as soon as it reads on
	case s.allow == 0:
		s.allow = behind + maxBehind
	case behind <= maxBehind:
		s.allow = maxBehind
	case behind > s.allow:
		s.session.close(closeSlow, "slow_consumer", 1000)
		return nil, 0, true
	}
	return next, behind, true
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
	var open []*task.View
	open, s.place = h.views.Tasks.Join(s.warehouse)
	s.epoch, s.began, s.open, s.stored = h.logEpoch(s), now, nil, nil
	missing := maps.Clone(s.tasks)
	for _, v := range open {
		if s.tasks == nil || s.tasks[v.Spec.ID] {
			s.open = append(s.open, h.taskItem(v))
			delete(missing, v.Spec.ID)
		}
	}
	if s.tasks == nil {
		s.seq = s.place.Seq
	}
	if len(missing) > 0 {
		s.phase = finding
		s.answer.Store(nil)
		h.srv.running.Go(func() { h.find(s, slices.Sorted(maps.Keys(missing))) }) // ends with the store's answers
		return
	}
	s.phase = snapshotting
	h.begin(s, false)
}

// findFor is how long the store may take for all the tasks of a subscription.
const findFor = 5 * time.Second

// find reads the tasks of a subscription that were not open when it joined the log. The hub goes on meanwhile, and with
// the subscription afterwards.
func (h *hub) find(s *sub, ids []fleet.TaskID) {
	s.session.finding.Lock() // one at a time of a connection, and few of all
	defer s.session.finding.Unlock()
	h.srv.finding <- struct{}{}
	defer func() { <-h.srv.finding }()
	ctx, cancel := context.WithTimeout(context.Background(), findFor)
	defer cancel()
	var found []task.View
	for _, id := range ids {
		if s.left.Load() {
			return
		}
		v, err := h.srv.o.FindTask(ctx, h.tenant, id)
		switch {
		case err == nil && (s.warehouse == "" || v.Spec.Shard.Warehouse == s.warehouse):
			found = append(found, v)
		case err != nil && !errors.Is(err, fact.ErrNotFound):
			s.session.forget(s)
			n := int64(s.id)
			s.session.refuse(&n, &refusal{code: "UNAVAILABLE", message: "the tasks cannot be read now: subscribe again"})
			return
		}
	}
	s.answer.Store(&found)
	h.ready(s)
}

// found takes the store's answer. It may be newer than the place where the log was joined: steps that it has already are
// not told again.
func (h *hub) found(s *sub) {
	answer := s.answer.Swap(nil)
	if answer == nil {
		return
	}
	s.stored = map[fleet.TaskID]int64{}
	for i := range *answer {
		v := &(*answer)[i]
		s.open = append(s.open, h.taskItem(v))
		s.stored[v.Spec.ID] = v.Version
	}
	s.phase = snapshotting
	h.begin(s, false)
}

func (h *hub) taskItem(v *task.View) []byte {
	b, _ := json.Marshal(h.srv.o.Task(v))
	return b
}

// taskPart sends the next part of the open tasks.
func (h *hub) taskPart(s *sub) {
	b := append(head(nil, "snapshot", s), `,"items":[`...)
	n := 0
	for n < len(s.open) && n < partItems && (n == 0 || len(b) < partBytes) {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(b, s.open[n]...)
		s.open[n] = nil
		n++
	}
	s.open = s.open[n:]
	b = append(b, `],"more":`...)
	b = append(strconv.AppendBool(b, len(s.open) > 0), '}')
	if len(s.open) == 0 {
		s.phase, s.open = live, nil
	}
	s.more.Store(true) // the rest, or what has happened since
	h.give(s, "snapshot", &payload{data: b}, false)
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
