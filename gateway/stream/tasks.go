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
		if at == s.place {
			continue
		}
		if s.busy.Load() {
			h.watchLag(now, s)
			continue
		}
		h.pumpTasks(now, s)
	}
}

// pumpTasks sends the next that a tasks subscription wants.
func (h *hub) pumpTasks(now time.Time, s *sub) {
	switch {
	case s.phase == fresh && s.tasks != nil && s.found == nil:
		h.srv.running.Go(func() { h.find(s) }) // ends with the store's answers
		return
	case s.phase == fresh:
		h.beginTasks(now, s)
		return
	case s.phase == snapshotting:
		if !h.room() {
			h.later(s)
			return
		}
		h.taskPart(s)
		return
	}
	for {
		next, behind, ok := h.views.Tasks.After(now, s.warehouse, s.place)
		switch {
		case !ok && now.Sub(s.began) < resyncEvery: // tasks that come back after a restart do so one by one
			s.more.Store(false)
			return
		case !ok:
			h.resync(s)
			return
		case behind > maxBehind:
			s.session.close(closeSlow, "slow_consumer", 1000)
			return
		case next == nil:
			s.more.Store(false)
			return
		}
		s.place.Seq = next.Seq
		if b := h.taskDelta(s, next); b != nil {
			s.more.Store(behind > len(next.Events))
			h.give(s, "delta", b, false)
			return
		}
	}
}

// watchLag closes a client that takes nothing while more and more waits for it.
func (h *hub) watchLag(now time.Time, s *sub) {
	s.more.Store(true)
	_, behind, ok := h.views.Tasks.After(now, s.warehouse, s.place)
	if !ok && s.place.Life != h.views.Tasks.Head(now, s.warehouse).Life {
		return // it starts anew as soon as it reads on
	}
	if !ok || behind > maxBehind {
		s.session.close(closeSlow, "slow_consumer", 1000)
	}
}

// beginTasks goes on where the client was, if that can be, or begins with what is open.
func (h *hub) beginTasks(now time.Time, s *sub) {
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
	s.epoch = h.logEpoch(s)
	if s.tasks == nil {
		s.seq = s.place.Seq
	}
	s.open = s.open[:0]
	found := map[fleet.TaskID]bool{}
	for _, v := range open {
		if s.tasks == nil || s.tasks[v.Spec.ID] {
			s.open = append(s.open, h.taskItem(v))
			found[v.Spec.ID] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.found)) {
		if v := s.found[id]; !found[id] {
			s.open = append(s.open, h.taskItem(&v))
		}
	}
	s.found = nil
	s.phase, s.began = snapshotting, now
	h.begin(s, false)
}

// findFor is how long the store may take for all the tasks of a subscription.
const findFor = 5 * time.Second

// find reads the tasks of a subscription that are not open: what has ended does not change any more. The hub goes on
// meanwhile, and with the subscription afterwards.
func (h *hub) find(s *sub) {
	h.srv.finding <- struct{}{}
	defer func() { <-h.srv.finding }()
	ctx, cancel := context.WithTimeout(context.Background(), findFor)
	defer cancel()
	open := map[fleet.TaskID]bool{}
	for _, v := range h.views.Tasks.Open(s.warehouse) {
		open[v.Spec.ID] = true
	}
	found := map[fleet.TaskID]task.View{}
	for id := range s.tasks {
		if open[id] || s.left.Load() {
			continue
		}
		v, err := h.srv.o.FindTask(ctx, h.tenant, id)
		switch {
		case err == nil && (s.warehouse == "" || v.Spec.Shard.Warehouse == s.warehouse):
			found[id] = v
		case err != nil && !errors.Is(err, fact.ErrNotFound):
			n := int64(s.id)
			s.session.refuse(&n, &refusal{code: "UNAVAILABLE", message: "the tasks cannot be read now: subscribe again"})
			s.session.forget(s)
			return
		}
	}
	s.found = found
	h.ready(s)
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
		n++
	}
	s.open = s.open[n:]
	b = append(b, `],"more":`...)
	b = append(strconv.AppendBool(b, len(s.open) > 0), '}')
	if len(s.open) == 0 {
		s.phase, s.open = live, nil
	}
	s.more.Store(true) // the rest, or what has happened since
	h.give(s, "snapshot", b, false)
}

// taskDelta is a batch as a subscription is told of it; nil where nothing in it is for it.
func (h *hub) taskDelta(s *sub, batch *view.Batch) []byte {
	if s.tasks == nil {
		s.seq = batch.Seq
		k := frameKey{what: "tasks", warehouse: s.warehouse, id: s.id, seq: s.seq}
		b := h.frames[k]
		if b == nil {
			b = h.encodeBatch(s, batch.Events)
			h.frames[k] = b
		}
		return b
	}
	var mine []*view.Transition
	for _, t := range batch.Events {
		if s.tasks[t.Task.Spec.ID] {
			mine = append(mine, t)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	s.seq++
	return h.encodeBatch(s, mine)
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
