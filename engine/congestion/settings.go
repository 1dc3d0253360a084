package congestion

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Kind is for what a rule of congestion holds: the sorts of zones (by how their vertices hang together and what stands
// there), lanes, and the warehouse as a whole.
type Kind uint8

// The kinds. A zone is KindCharging or KindParking where at least half of its vertices are for that; else its Class says.
const (
	KindOpen Kind = iota
	KindAisle
	KindOneLane
	KindParking
	KindCharging
	KindLane
	KindWarehouse
	Kinds // how many there are
)

var kindNames = [...]string{"open", "aisle", "one_lane", "parking", "charging", "lane", "warehouse"}

// String is the name in settings.
func (k Kind) String() string {
	if int(k) >= len(kindNames) {
		return "INVALID"
	}
	return kindNames[k]
}

// ParseKind is the reverse of String.
func ParseKind(s string) (Kind, bool) {
	i := slices.Index(kindNames[:], s)
	return Kind(max(i, 0)), i >= 0
}

// Rule says when one level is reached. A term that is 0 does not count; any one of the others is enough.
type Rule struct {
	Index      float64       // congestion index from which on, 0..1
	Percentile float64       // and at least that quantile of the site's own indices, 0..1 (0 = the index alone)
	Risk       float64       // or a risk score from which on, 0..1
	Density    float64       // or a density from which on, as a share of the critical one, 0..3, while production falls short:
	Production float64       // below that share of the greatest that was seen, 0..1
	After      time.Duration // that it must have held
}

// LevelCount is how many levels there are above none: L1, L2, L3.
const LevelCount = 3

// Ladder says how levels are reached and left.
type Ladder struct {
	Rules      [LevelCount]Rule
	Margin     float64       // a level is left when all of its terms are that much lower (notes §4: 0.08)
	ClearAfter time.Duration // and have been for so long
	Dwell      time.Duration // a level lasts at least so long
	Cooldown   time.Duration // after a step down none goes up for so long
}

// Settings are a tenant's for one warehouse, resolved: what its warehouse says, else what the tenant says, else what is
// usual. They live in the tenant's settings under "congestion" (docs/congestion.md). Comparable: what is equal changes
// nothing.
type Settings struct {
	Version int64 // of the tenant's settings; told with each score. Whoever reads them sets it
	Off     bool  // nothing is raised: figures are made all the same
	Ladders [Kinds]Ladder
	Acting  Acting
}

// Acting says what may be done without asking.
type Acting struct {
	Automatic  int               // subjects at up to this level are acted upon by itself, 1..3; 0 = what to do is only suggested
	Remedies   [ActionKinds]bool // that may be used by itself
	LookAfter  time.Duration     // then it is looked whether a remedy helped
	LeastGain  float64           // of the index, 0..1: what helped less is rolled back
	MostAtOnce int               // remedies that hold in one warehouse at once
}

// Usual are the settings of a tenant that says nothing. Thresholds: notes §4.
func Usual() Settings {
	l := Ladder{
		Rules: [LevelCount]Rule{
			{Index: 0.30, Percentile: 0.85, Risk: 0.40, After: 30 * time.Second},
			{Index: 0.45, Percentile: 0.95, Density: 0.9, Production: 0.9, After: 30 * time.Second},
			{Index: 0.60, Density: 1.15, Production: 0.8, After: 60 * time.Second},
		},
		Margin: 0.08, ClearAfter: 60 * time.Second, Dwell: 60 * time.Second, Cooldown: 60 * time.Second,
	}
	s := Settings{Acting: Acting{LookAfter: 3 * time.Minute, LeastGain: 0.02, MostAtOnce: 8}}
	for k := range s.Ladders {
		s.Ladders[k] = l
	}
	// What the bench of jams has seen to win by itself (docs/congestion.md); the others are for people to press.
	s.Acting.Remedies[Reroute], s.Acting.Remedies[HoldTasks] = true, true
	return s
}

// Fault is one of a document of settings: where, and what is wanted.
type Fault struct{ Field, Problem string }

// maxSites bounds the warehouses for which settings say something of their own.
const maxSites = 200

// CheckSettings reads the document and tells every fault at once, ordered by field; none = it may be stored.
func CheckSettings(raw json.RawMessage) []Fault {
	r := reader{strict: true}
	all := Usual()
	if !r.settings("", raw, &all, true) {
		return r.found
	}
	var doc struct {
		Warehouses json.RawMessage `json:"warehouses"`
	}
	_ = json.Unmarshal(raw, &doc) // it is an object
	if len(doc.Warehouses) > 0 && !null(doc.Warehouses) {
		var of map[string]json.RawMessage
		if json.Unmarshal(doc.Warehouses, &of) != nil || len(of) > maxSites {
			r.fault("warehouses", "want an object of at most %d warehouses by id", maxSites)
		}
		for id, own := range of {
			if here := all; !null(own) {
				r.settings("warehouses."+short(id)+".", own, &here, false)
			}
		}
	}
	slices.SortFunc(r.found, func(a, b Fault) int { return strings.Compare(a.Field, b.Field) })
	return r.found
}

// ReadSettings resolves the document for a warehouse. It was checked when it was stored: a part in which something cannot be
// read counts as absent.
func ReadSettings(raw json.RawMessage, warehouse string) Settings {
	s := Usual()
	var doc struct {
		Warehouses map[string]json.RawMessage `json:"warehouses"`
	}
	_ = json.Unmarshal(raw, &doc)
	for _, part := range []json.RawMessage{raw, doc.Warehouses[warehouse]} {
		if len(part) == 0 || null(part) {
			continue
		}
		var r reader
		next := s
		if r.settings("", part, &next, true) && len(r.found) == 0 {
			s = next
		}
	}
	return s
}

// reader reads documents and gathers faults.
type reader struct {
	found  []Fault
	strict bool // what is to be stored: faults that older documents may have count too
}

func (r *reader) fault(field, format string, args ...any) {
	r.found = append(r.found, Fault{Field: field, Problem: fmt.Sprintf(format, args...)})
}

func null(raw json.RawMessage) bool { return string(raw) == "null" }

// short keeps a name that somebody chose from filling the answer.
func short(name string) string {
	if len(name) > 64 {
		return strings.ToValidUTF8(name[:64], "") + "…"
	}
	return name
}

// object hands each member that is not null to take, which says whether there is such a setting. The order of members does
// not matter: names are taken sorted.
func (r *reader) object(at string, raw json.RawMessage, take func(name string, value json.RawMessage) bool) bool {
	var doc map[string]json.RawMessage
	if json.Unmarshal(raw, &doc) != nil || doc == nil {
		r.fault(strings.TrimSuffix(at, "."), "want an object")
		return false
	}
	for name, value := range doc {
		if !null(value) && !take(name, value) {
			r.fault(at+short(name), "there is no such setting")
		}
	}
	return true
}

func (r *reader) number(at string, raw json.RawMessage, least, most float64, to *float64) {
	var f float64
	if json.Unmarshal(raw, &f) != nil || math.IsNaN(f) || f < least || f > most {
		r.fault(at, "want a number %g..%g", least, most)
		return
	}
	*to = f
}

func (r *reader) seconds(at string, raw json.RawMessage, most time.Duration, to *time.Duration) {
	f := to.Seconds()
	r.number(at, raw, 0, most.Seconds(), &f)
	*to = time.Duration(math.Round(f*1000)) * time.Millisecond
}

func (r *reader) flag(at string, raw json.RawMessage, to *bool) {
	if json.Unmarshal(raw, to) != nil {
		r.fault(at, "want true or false")
	}
}

// The longest that may be set.
const (
	maxAfter    = 30 * time.Minute
	maxCooldown = 2 * time.Hour
)

// settings reads a document; top = it may have parts for single warehouses.
func (r *reader) settings(at string, raw json.RawMessage, to *Settings, top bool) bool {
	var kinds json.RawMessage
	ok := r.object(at, raw, func(name string, value json.RawMessage) bool {
		switch name {
		case "off":
			r.flag(at+name, value, &to.Off)
		case "acting":
			r.acting(at+name+".", value, &to.Acting)
		case "kinds":
			kinds = value
		case "warehouses":
			return top
		default:
			known := false
			for k := range to.Ladders { // what is said of all holds for each kind
				n := len(r.found)
				known = r.ladder(at, name, value, &to.Ladders[k])
				if k > 0 {
					r.found = r.found[:n] // said once
				}
			}
			return known
		}
		return true
	})
	if !ok {
		return false
	}
	if kinds != nil { // after what is said of all, wherever it stands
		r.object(at+"kinds.", kinds, func(name string, value json.RawMessage) bool {
			k, known := ParseKind(name)
			if !known {
				return false
			}
			here := at + "kinds." + name + "."
			r.object(here, value, func(name string, value json.RawMessage) bool { return r.ladder(here, name, value, &to.Ladders[k]) })
			return true
		})
	}
	r.order(at, to)
	if r.strict {
		r.margins(at, to)
	}
	return true
}

// margins holds that levels can end: a margin is less than each threshold that is used.
func (r *reader) margins(at string, s *Settings) {
	for k := range s.Ladders {
		l := &s.Ladders[k]
		for i := range l.Rules {
			for _, threshold := range []float64{l.Rules[i].Index, l.Rules[i].Risk, l.Rules[i].Density} {
				field := at + "clear_margin"
				if threshold <= 0 || l.Margin < threshold || slices.ContainsFunc(r.found, func(g Fault) bool { return g.Field == field }) {
					continue
				}
				r.fault(field, "want less than each threshold: one of l%d is %g (%s)", i+1, threshold, Kind(k))
			}
		}
	}
}

// order holds that levels rise.
func (r *reader) order(at string, s *Settings) {
	for k := range s.Ladders {
		for i := 1; i < LevelCount; i++ {
			low, high := s.Ladders[k].Rules[i-1].Index, s.Ladders[k].Rules[i].Index
			if low <= 0 || high <= 0 || low <= high {
				continue
			}
			field := at + fmt.Sprintf("l%d.index", i+1)
			f := Fault{Field: field, Problem: fmt.Sprintf("want at least that of l%d, %g (%s)", i, low, Kind(k))}
			if !slices.ContainsFunc(r.found, func(g Fault) bool { return g.Field == field }) {
				r.found = append(r.found, f)
			}
		}
	}
}

// ladder reads one member of what is said of a kind.
func (r *reader) ladder(at, name string, value json.RawMessage, to *Ladder) bool {
	switch name {
	case "l1", "l2", "l3":
		r.rule(at+name+".", value, &to.Rules[name[1]-'1'])
	case "clear_margin":
		r.number(at+name, value, 0, 0.5, &to.Margin)
	case "clear_after_s":
		r.seconds(at+name, value, maxAfter, &to.ClearAfter)
	case "dwell_s":
		r.seconds(at+name, value, maxAfter, &to.Dwell)
	case "cooldown_s":
		r.seconds(at+name, value, maxCooldown, &to.Cooldown)
	default:
		return false
	}
	return true
}

func (r *reader) rule(at string, raw json.RawMessage, to *Rule) {
	r.object(at, raw, func(name string, value json.RawMessage) bool {
		switch name {
		case "index":
			r.number(at+name, value, 0, 1, &to.Index)
		case "percentile":
			r.number(at+name, value, 0, 0.999, &to.Percentile)
		case "risk":
			r.number(at+name, value, 0, 1, &to.Risk)
		case "density":
			r.number(at+name, value, 0, 3, &to.Density)
		case "production":
			r.number(at+name, value, 0, 1, &to.Production)
		case "after_s":
			r.seconds(at+name, value, maxAfter, &to.After)
		default:
			return false
		}
		return true
	})
}

func (r *reader) acting(at string, raw json.RawMessage, to *Acting) {
	r.object(at, raw, func(name string, value json.RawMessage) bool {
		switch name {
		case "automatic":
			var s string
			i := -1
			if json.Unmarshal(value, &s) == nil {
				i = slices.Index([]string{"off", "L1", "L2", "L3"}, s)
			}
			if i < 0 {
				r.fault(at+name, "want off, L1, L2 or L3")
				return true
			}
			to.Automatic = i
		case "remedies":
			r.remedies(at+name, value, to)
		case "look_after_s":
			r.seconds(at+name, value, maxAfter, &to.LookAfter)
		case "least_gain":
			r.number(at+name, value, 0, 1, &to.LeastGain)
		case "most_at_once":
			f := float64(to.MostAtOnce)
			r.number(at+name, value, 0, 100, &f)
			to.MostAtOnce = int(f)
		default:
			return false
		}
		return true
	})
}

func (r *reader) remedies(at string, raw json.RawMessage, to *Acting) {
	var names []string
	if json.Unmarshal(raw, &names) != nil {
		r.fault(at, "want a list of remedies")
		return
	}
	to.Remedies = [ActionKinds]bool{}
	for i, n := range names {
		if k, ok := ParseActionKind(n); ok {
			to.Remedies[k] = true
		} else {
			r.fault(fmt.Sprintf("%s[%d]", at, i), "want one of %s", strings.Join(actionNames[:], ", "))
		}
	}
}
