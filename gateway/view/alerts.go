package view

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"starling/engine/alert"
	"starling/engine/fleet"
)

// AlertStep is one recorded step of an alert, with the alert after it.
type AlertStep struct {
	Warehouse fleet.WarehouseID
	Action    alert.Action
	Alert     *alert.View // not to be changed

	body atomic.Pointer[[]byte]
}

// Body is what encode makes of the step: made once for all who are told, unless it is large.
func (s *AlertStep) Body(encode func(*AlertStep) []byte) []byte {
	if b := s.body.Load(); b != nil {
		return *b
	}
	b := encode(s)
	if len(b) <= bodyBytes {
		b = slices.Clone(b) // as large as it is
		s.body.Store(&b)
	}
	return b
}

// weight is about how many bytes a step takes while it is kept.
func (s *AlertStep) weight() int {
	return 1<<10 + len(s.Alert.Message) + len(s.Alert.Details) + 256*(len(s.Alert.Handling)+len(s.Alert.Remedies)) + bodyBytes
}

// AlertBatch is a run of steps of alerts.
type AlertBatch = Run[AlertStep]

// maxVersions bounds the alerts of a tenant whose versions are known; beyond it all are forgotten, and who follows the log
// starts anew.
const maxVersions = 20_000

// Incidents are logs of what happened to the alerts of one tenant. What is open the store of facts says.
type Incidents struct {
	mu    sync.Mutex
	known map[alert.ID]int64 // versions
	logs  logs[AlertStep]
}

func newIncidents() *Incidents {
	return &Incidents{known: map[alert.ID]int64{}, logs: logs[AlertStep]{}}
}

// changed takes a recorded step; no event = the alert was restored as it is.
func (b *Incidents) changed(now time.Time, w fleet.WarehouseID, e *alert.Event, v *alert.View) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.known[v.ID]
	if v.Version <= known {
		return
	}
	if len(b.known) >= maxVersions {
		clear(b.known)
	}
	b.known[v.ID] = v.Version
	for _, of := range []fleet.WarehouseID{w, ""} {
		switch l := b.logs.of(of); {
		case e != nil && v.Version == known+1:
			add(l, now, &AlertStep{Warehouse: w, Action: e.Step.Action, Alert: v})
		case e == nil && known == 0 && v.Status == alert.Resolved: // what is open is the same as before
		default: // steps have been recorded that nobody was told of, or who follows may not have seen the alert that was restored
			l.end()
		}
	}
}

// Join returns the place in a warehouse's log ("" = of all) from which what follows is new.
func (b *Incidents) Join(w fleet.WarehouseID) Place {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.logs.join(w)
}

// Head is the place of the newest batch that is complete.
func (b *Incidents) Head(now time.Time, w fleet.WarehouseID) Place {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.logs.head(now, w)
}

// After returns the next batch after a place, as Board.After does.
func (b *Incidents) After(now time.Time, w fleet.WarehouseID, at Place) (next *AlertBatch, behind int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.logs.after(now, w, at)
}

// AlertChanged takes a recorded step of an alert and the alert after it: each once, in the order of an alert's versions. No
// event = it was restored as it is. What v points to is not changed any more.
func (s *Store) AlertChanged(shard fleet.Shard, e *alert.Event, v *alert.View) {
	s.Tenant(shard.Tenant).Alerts.changed(s.now(), shard.Warehouse, e, v)
}
