package congestion

import (
	"encoding/json"
	"fmt"
	"math"
)

// suits says that the kind of remedy can be applied to such a subject by the warehouse itself.
func suits(kind ActionKind, of Of) bool {
	switch kind {
	case CapActive:
		return of == OfWarehouse
	case Reroute, HoldTasks:
		return of == OfZone
	case CloseLane, CapAdmission, SendCharging, ActionKinds: // a lane is closed by its own call; the others are not built
		return false
	}
	return false
}

// remedy describes what the kind would do to a subject, and what for.
func (a *Acts) remedy(kind ActionKind, s *Score) Remedy {
	r := Remedy{Kind: kind, Subject: s.Subject, Reason: jamText(s)}
	switch kind {
	case Reroute:
		r.Expected = Effect{Index: -0.1, Robots: s.Queue, WithinS: 120}
		r.Label = "lead robots round those that cannot move, by far ways too"
	case HoldTasks:
		r.Most = a.bound(s)
		r.Expected = Effect{Index: -0.15, Robots: max(0, s.Occupancy+s.Inbound-r.Most), WithinS: 180}
		r.Label = fmt.Sprintf("let %d robots at once have tasks that lead there, the most urgent first", r.Most)
	case CloseLane:
		r.Label = "close the lane"
		r.Expected = Effect{Index: -0.1, Robots: s.Queue, WithinS: 120}
	case CapActive:
		r.Most = max(int(math.Round(activeFloor*float64(s.Capacity))), int(math.Round(activeCut*float64(Active(s.Capacity)))))
		r.Expected = Effect{Index: -0.1, Robots: max(0, s.Occupancy-r.Most), WithinS: 300}
		r.Label = fmt.Sprintf("let %d robots have tasks at once", r.Most)
	case CapAdmission, SendCharging, ActionKinds:
	}
	return r
}

func jamText(s *Score) string {
	text := fmt.Sprintf("level %d: index %.2f, %d robots on %d vertices, %d wait, %d more on their way", s.Level, s.Index, s.Occupancy, s.Capacity, s.Queue, s.Inbound)
	if s.Faulted > 0 {
		text += fmt.Sprintf(", %d cannot move", s.Faulted)
	}
	return text
}

// Suggest lists what may be done about a congested subject of a warehouse, the best first, with the call that does it.
func Suggest(warehouse string, s *Score) []Action {
	if s.Level == 0 && s.Faulted == 0 {
		return nil
	}
	var kinds []ActionKind
	switch s.Of {
	case OfZone:
		if s.Faulted > 0 {
			kinds = append(kinds, Reroute)
		}
		kinds = append(kinds, HoldTasks)
	case OfWarehouse:
		kinds = append(kinds, CapActive)
	case OfLane:
		kinds = append(kinds, CloseLane)
	}
	var acts Acts
	out := make([]Action, 0, len(kinds))
	for _, k := range kinds {
		r := acts.remedy(k, s)
		x := Action{Kind: k, Subject: s.Subject, Label: r.Label, Expected: r.Expected, Method: "POST", Path: "/api/v1/congestion/remedies"}
		if k == CloseLane {
			x.Method, x.Path, x.Body = "PATCH", "/api/v1/lanes/"+s.ID, json.RawMessage(`{"closed":true,"reason":"congestion"}`)
		} else {
			x.Body = fmt.Appendf(nil, `{"warehouse_id":%q,"action":%q,"subject":{"type":%q,"id":%q}}`, warehouse, k.String(), s.Of.String(), s.ID)
		}
		out = append(out, x)
	}
	return out
}
