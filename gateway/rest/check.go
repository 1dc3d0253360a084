package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// What a body can be held against without asking anybody is checked here, beside the schema's rules, so that a
// client hears of all faults at once.

// printable holds a client's text against its bounds: no control characters, no broken UTF-8.
func (f *faults) printable(field, s string, least, most int) {
	if n := utf8.RuneCountInString(s); n < least || n > most {
		f.add(field, fmt.Sprintf("want %d..%d characters", least, most))
		return
	}
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }) {
		f.add(field, "want printable characters")
	}
}

// Resolve implements huma.ResolverWithPath.
func (b *newTenant) Resolve(_ huma.Context, p *huma.PathBuffer) []error {
	f := limitsFaults(at(p, "limits"), b.Limits)
	f.printable(at(p, "name"), b.Name, 1, 200)
	return f.errors()
}

// Resolve implements huma.ResolverWithPath.
func (b *tenantWish) Resolve(_ huma.Context, p *huma.PathBuffer) []error {
	f := limitsFaults(at(p, "limits"), b.Limits)
	if b.Name != nil {
		f.printable(at(p, "name"), *b.Name, 1, 200)
	}
	return f.errors()
}

// Resolve implements huma.ResolverWithPath.
func (b *newWarehouse) Resolve(_ huma.Context, p *huma.PathBuffer) []error {
	var f faults
	f.printable(at(p, "warehouse_code"), b.Code, 1, 64)
	f.printable(at(p, "name"), b.Name, 1, 200)
	if _, err := time.LoadLocation(b.Timezone); err != nil || b.Timezone == "Local" {
		f.add(at(p, "timezone"), "want an IANA time zone")
	}
	return f.errors()
}

// Resolve implements huma.ResolverWithPath.
func (b *newMap) Resolve(_ huma.Context, p *huma.PathBuffer) []error {
	var f faults
	f.printable(at(p, "name"), b.Name, 1, 200)
	return f.errors()
}

// Resolve implements huma.ResolverWithPath.
func (w *laneWish) Resolve(_ huma.Context, p *huma.PathBuffer) []error {
	var f faults
	f.printable(at(p, "reason"), w.Reason, 0, 500)
	if w.Closed == nil && w.SpeedMPS == nil {
		f.add(p.String(), "want closed, speed_limit_mps or both")
	}
	return f.errors()
}

// Resolve implements huma.ResolverWithPath.
func (b *newZone) Resolve(_ huma.Context, p *huma.PathBuffer) []error {
	var f faults
	f.printable(at(p, "name"), b.Name, 0, 200)
	if c := b.Polygon.Coordinates; len(c) == 1 {
		if err := roadmap.Polygon(c[0]).Check(); err != nil {
			f.add(at(p, "polygon.coordinates"), err.Error())
		}
	}
	return f.errors()
}

// Resolve implements huma.ResolverWithPath.
func (w *RobotWish) Resolve(_ huma.Context, p *huma.PathBuffer) []error {
	var f faults
	text := func(field string, s *string, most int) {
		if s != nil {
			f.printable(at(p, field), *s, 0, most)
		}
	}
	text("display_name", w.DisplayName, 200)
	text("fleet", w.Fleet, 64)
	text("model", w.Model, 200)
	if w.Capabilities != nil {
		for i, c := range *w.Capabilities {
			f.printable(at(p, fmt.Sprintf("capabilities[%d]", i)), c, 1, 64)
		}
	}
	if w.AllowedZones != nil {
		for i, z := range *w.AllowedZones {
			if !isUUID(z) {
				f.add(at(p, fmt.Sprintf("allowed_zones[%d]", i)), "want a uuid")
			}
		}
	}
	return f.errors()
}

// Resolve implements huma.ResolverWithPath.
func (b *newRobot) Resolve(c huma.Context, p *huma.PathBuffer) []error {
	var f faults
	f.printable(at(p, "robot_code"), b.Code, 1, 64)
	return append(f.errors(), b.RobotWish.Resolve(c, p)...)
}

// Resolve implements huma.ResolverWithPath.
func (w *StatusWish) Resolve(_ huma.Context, p *huma.PathBuffer) []error {
	var f faults
	f.printable(at(p, "boot_id"), w.BootID, 0, 64)
	for i, e := range w.Errors {
		f.printable(at(p, fmt.Sprintf("errors[%d].code", i)), e.Code, 1, 64)
		f.printable(at(p, fmt.Sprintf("errors[%d].message", i)), e.Message, 0, 512)
	}
	return f.errors()
}

// Resolve implements huma.ResolverWithPath.
func (w *newCommand) Resolve(_ huma.Context, p *huma.PathBuffer) []error {
	var f faults
	f.printable(at(p, "vertex"), w.Vertex, 0, 128)
	kind, ok := fleet.ParseCommand(w.Command)
	travels := kind == fleet.CommandGoTo || kind == fleet.CommandCharge
	if ok && !travels && w.Vertex != "" {
		f.add(at(p, "vertex"), "only go_to and charge have one")
	}
	if kind == fleet.CommandGoTo && w.Vertex == "" {
		f.add(at(p, "vertex"), "is needed for go_to")
	}
	return f.errors()
}

// Resolve implements huma.ResolverWithPath.
func (w *cancelWish) Resolve(_ huma.Context, p *huma.PathBuffer) []error {
	var f faults
	f.printable(at(p, "reason"), w.Reason, 0, 500)
	return f.errors()
}

// Resolve implements huma.ResolverWithPath.
func (w *newTask) Resolve(_ huma.Context, p *huma.PathBuffer) []error {
	var f faults
	f.printable(at(p, "fleet"), w.Fleet, 0, 64)
	if w.EarliestStart != nil && w.Deadline != nil && w.Deadline.Before(*w.EarliestStart) {
		f.add(at(p, "deadline"), "lies before earliest_start")
	}
	place := func(field, ref string) { f.printable(at(p, "payload."+field), ref, 0, 128) }
	place("pickup", w.Payload.Pickup)
	place("dropoff", w.Payload.Dropoff)
	for i, what := range w.Payload.Requires {
		f.printable(at(p, fmt.Sprintf("payload.requires[%d]", i)), what, 1, 64)
	}
	for i, ref := range w.Payload.Waypoints {
		f.printable(at(p, fmt.Sprintf("payload.waypoints[%d]", i)), ref, 1, 128)
	}
	need := func(field, ref string) {
		if ref == "" {
			f.add(at(p, "payload."+field), "is needed for this task type")
		}
	}
	switch w.TaskType {
	case "transport":
		need("pickup", w.Payload.Pickup)
		need("dropoff", w.Payload.Dropoff)
	case "patrol":
		need("waypoints", strings.Join(w.Payload.Waypoints, ""))
	case "go_to":
		need("dropoff", w.Payload.Dropoff+strings.Join(w.Payload.Waypoints, ""))
	}
	return f.errors()
}

// The bounds of what a client keeps with a task or a tenant, in bytes and in levels of nesting.
const (
	maxKept  = 16 << 10
	maxDepth = 32
)

// keepable holds JSON that is stored as it came against what every store can hold: bounded, no broken text, no NUL,
// no number beyond float64.
func (f *faults) keepable(field string, raw []byte) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if len(raw) > maxKept || !utf8.Valid(raw) || dec.Decode(&v) != nil || !holds(v, maxDepth) {
		f.add(field, fmt.Sprintf("want at most %d bytes, %d levels, no NUL, no broken text, no number out of range", maxKept, maxDepth))
	}
}

func holds(v any, depth int) bool {
	whole := func(s string) bool { return !strings.ContainsAny(s, "\x00\uFFFD") }
	switch v := v.(type) {
	case string:
		return whole(v)
	case json.Number:
		x, err := v.Float64()
		return err == nil && !math.IsInf(x, 0) && len(v) <= 64
	case []any:
		return depth > 0 && !slices.ContainsFunc(v, func(x any) bool { return !holds(x, depth-1) })
	case map[string]any:
		for k, x := range v {
			if depth == 0 || !whole(k) || !holds(x, depth-1) {
				return false
			}
		}
	}
	return true
}

// at is a field below p. (PathBuffer.With forgets only the last part of a field that has several.)
func at(p *huma.PathBuffer, field string) string { return p.String() + "." + field }
