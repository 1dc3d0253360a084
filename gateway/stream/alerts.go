package stream

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/view"
)

// alertFloor is what the hub's goroutine keeps of alerts.
type alertFloor struct {
	finders []*sub // wait for the store's answer, the longest first
	finding atomic.Int32
}

// alertSub is what a subscription to alerts has besides what all have. What stands below "hub's" belongs to the hub's round.
type alertSub struct {
	least alert.Level // of alerts that are or have been at least as bad; NoLevel = all

	// The hub's.
	rest   []*fact.Alert      // of the snapshot
	stored map[alert.ID]int64 // versions of those in the snapshot

	answer atomic.Pointer[[]fact.Alert] // what the store says is unresolved
}

func (a *alertSub) wants(v *alert.Alert) bool { return max(v.Level, v.Peak) >= a.least }

// tellAlerts tells whoever waits for the next batch of a log of alerts.
func (h *hub) tellAlerts(now time.Time, subs []*sub) {
	h.alerts.finders = slices.DeleteFunc(h.alerts.finders, func(s *sub) bool { return s.left.Load() })
	h.askAlerts()
	for _, s := range subs {
		if s.left.Load() || s.phase != live || h.views.Alerts.Head(now, s.warehouse) == s.place {
			continue
		}
		if !s.busy.Load() {
			h.pumpAlerts(now, s)
			continue
		}
		s.more.Store(true)
		if _, _, ok := after(now, s, h.views.Alerts); !ok {
			cut(now, s, h.views.Alerts)
		}
	}
}

// pumpAlerts sends the next that a subscription to alerts wants.
func (h *hub) pumpAlerts(now time.Time, s *sub) {
	switch s.phase {
	case fresh:
		h.beginAlerts(now, s)
		return
	case finding:
		h.foundAlerts(now, s)
		return
	case snapshotting:
		if !h.roomFor(s) {
			h.later(s)
			return
		}
		h.alertPart(s)
		return
	case live:
	}
	for {
		next, behind, ok := after(now, s, h.views.Alerts)
		switch {
		case !ok && cut(now, s, h.views.Alerts):
			return
		case !ok && now.Sub(s.began) < resyncEvery:
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
		if p := h.alertDelta(s, next); p != nil {
			s.more.Store(behind > len(next.Events))
			h.give(s, "delta", p, false)
			return
		}
	}
}

// beginAlerts goes on where the client was, if that can be, or begins with what the store says is unresolved. The place in
// the log is taken first: what is recorded meanwhile is told afterwards, and what the store has already is passed over.
func (h *hub) beginAlerts(now time.Time, s *sub) {
	s.allow = 0
	if s.since.Epoch != "" && s.alerts.least == alert.NoLevel {
		s.place = view.Place{Life: h.views.Alerts.Head(now, s.warehouse).Life, Seq: s.since.Seq}
		if _, _, ok := h.views.Alerts.After(now, s.warehouse, s.place); ok && h.logEpoch(s) == s.since.Epoch {
			s.phase, s.epoch, s.seq, s.alerts.stored = live, s.since.Epoch, s.since.Seq, nil
			h.begin(s, true)
			return
		}
	}
	s.began, s.place = now, h.views.Alerts.Join(s.warehouse)
	if s.seq = s.place.Seq; s.alerts.least != alert.NoLevel {
		s.seq = 0 // the numbers are the subscription's own
	}
	s.epoch, s.phase = h.logEpoch(s), finding
	s.alerts.rest, s.alerts.stored = nil, nil
	s.alerts.answer.Store(nil)
	h.alerts.finders = append(h.alerts.finders, s)
	h.askAlerts()
}

// askAlerts gives the store the next questions: a few at a time of one tenant, and none whose answer would have to wait with us.
func (h *hub) askAlerts() {
	f := &h.alerts
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
			f.finding.Add(1)
			h.srv.running.Go(func() { h.findAlerts(s) }) // ends with the store's answer
		}
	}
}

func (h *hub) findAlerts(s *sub) {
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
	found, err := h.srv.o.OpenAlerts(ctx, h.tenant, s.warehouse)
	h.alerts.finding.Add(-1)
	if err != nil {
		if !s.left.Load() {
			h.unanswered(s, "the alerts cannot be read now: subscribe again")
		}
		return
	}
	slices.SortFunc(found, func(a, b fact.Alert) int {
		if c := a.OpenedAt.Compare(b.OpenedAt); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	s.alerts.answer.Store(&found)
	h.ready(s)
}

// foundAlerts takes the store's answer.
func (h *hub) foundAlerts(now time.Time, s *sub) {
	answer := s.alerts.answer.Swap(nil)
	if answer == nil {
		return
	}
	s.alerts.stored = map[alert.ID]int64{}
	for i := range *answer {
		if a := &(*answer)[i]; s.alerts.wants(&a.Alert) {
			s.alerts.rest = append(s.alerts.rest, a)
			s.alerts.stored[a.ID] = a.Version
		}
	}
	h.passOver(now, s)
	s.phase = snapshotting
	h.begin(s, false)
}

// passOver goes on in the log over what the store's answer has already, so that it is not told again.
func (h *hub) passOver(now time.Time, s *sub) {
	for {
		next, _, ok := h.views.Alerts.After(now, s.warehouse, s.place)
		if !ok || next == nil || slices.ContainsFunc(next.Events, func(t *view.AlertStep) bool { return t.Alert.Version > s.alerts.stored[t.Alert.ID] }) {
			return
		}
		if s.place.Seq = next.Seq; s.alerts.least == alert.NoLevel {
			s.seq = next.Seq
		}
	}
}

// alertPart sends the next part of the unresolved alerts.
func (h *hub) alertPart(s *sub) {
	b, n, rest := append(head(nil, "snapshot", s), `,"items":[`...), 0, s.alerts.rest
	for n < len(rest) && n < partItems && (n == 0 || len(b) < partBytes) {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(b, h.alertItem(rest[n].Shard.Warehouse, &rest[n].View)...)
		n++
	}
	b = append(strconv.AppendBool(append(b, `],"more":`...), n < len(rest)), '}')
	s.more.Store(true) // the rest, or what has happened since
	if s.alerts.rest = rest[n:]; n == len(rest) {
		s.alerts.rest, s.phase = nil, live
	}
	h.give(s, "snapshot", &payload{data: b}, false)
}

func (h *hub) alertItem(w fleet.WarehouseID, v *alert.View) []byte {
	b, _ := json.Marshal(h.srv.o.Alert(w, v))
	return b
}

// alertDelta is a batch as a subscription is told of it; nil where nothing in it is for it. Without a filter every batch is
// told, so that its numbers are those of the log; of it what the snapshot has already is left out, unless it is all.
func (h *hub) alertDelta(s *sub, batch *view.AlertBatch) *payload {
	var mine []*view.AlertStep
	for _, t := range batch.Events {
		if s.alerts.wants(&t.Alert.Alert) && t.Alert.Version > s.alerts.stored[t.Alert.ID] {
			mine = append(mine, t)
		}
	}
	switch {
	case s.alerts.least == alert.NoLevel:
		if s.seq = batch.Seq; len(mine) == 0 {
			mine = batch.Events
		}
	case len(mine) == 0:
		return nil
	default:
		s.seq++
	}
	b := append(head(nil, "delta", s), `,"events":[`...)
	for i, t := range mine {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, t.Body(h.encodeAlert)...)
	}
	return &payload{data: append(b, `],"coalesced":0}`...)}
}

// encodeAlert is the alert after the step, and the step's name.
func (h *hub) encodeAlert(t *view.AlertStep) []byte {
	kind := fact.TopicAlert
	if s := t.Alert.Subject.Type; s == alert.SubjectZone || s == alert.SubjectLane {
		kind = fact.TopicCongestion
	}
	b := append([]byte(`{"type":"`), kind...)
	b = append(append(b, `","data":`...), h.alertItem(t.Warehouse, t.Alert)...)
	b = append(b[:len(b)-1], `,"event":"`...)
	b = append(b, t.Action...)
	return append(b, `"}}`...)
}
