package quota

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
)

// maxSites bounds the warehouses for which a tenant's settings say something of their own.
const maxSites = 200

// level is a number of the rules of batteries.
type level struct {
	name        string
	of          func(*dispatch.Charging) *float64
	least, most float64
}

// levels are those numbers, by their names in settings. The first six stand in their order: each at least the one before.
var levels = [...]level{
	{"reserve", func(c *dispatch.Charging) *float64 { return &c.Reserve }, 0, 1},
	{"critical", func(c *dispatch.Charging) *float64 { return &c.Critical }, 0, 1},
	{"low", func(c *dispatch.Charging) *float64 { return &c.Low }, 0, 1},
	{"leave", func(c *dispatch.Charging) *float64 { return &c.Leave }, 0, 1},
	{"comfort", func(c *dispatch.Charging) *float64 { return &c.Comfort }, 0, 1},
	{"full", func(c *dispatch.Charging) *float64 { return &c.Full }, 0.05, 1},
	{"drain_per_m", func(c *dispatch.Charging) *float64 { return &c.PerM }, 1e-7, 0.1},
	{"drain_per_s", func(c *dispatch.Charging) *float64 { return &c.PerS }, 1e-8, 0.01},
	{"charge_per_s", func(c *dispatch.Charging) *float64 { return &c.ChargePerS }, 1e-6, 1},
	{"margin", func(c *dispatch.Charging) *float64 { return &c.Margin }, 1, 5},
}

const ordered = 6

const (
	settingCharging = "charging"
	settingParking  = "parking"
	settingDispatch = "dispatch"
	settingSampling = "sampling"
	maxAfter        = time.Hour
)

// rules are what settings say of batteries, of idle robots and of how tasks are matched, as they are stored.
type rules struct{ charging, parking, dispatch, sampling json.RawMessage }

// Rules are those of one warehouse: what its own part of the settings says, else the tenant's, else what is usual.
func (s *Settings) Rules(warehouse fleet.WarehouseID) dispatch.RulesChanged {
	r := dispatch.RulesChanged{Charging: dispatch.UsualCharging(), Parking: dispatch.UsualParking()}
	var nobody checker // it was checked when it was stored; what cannot be read counts as absent
	for _, raw := range layers(s.rules.charging, warehouse) {
		c := r.Charging
		if n := len(nobody.found); readCharging(&nobody, "", raw, &c) && len(nobody.found) == n {
			r.Charging = c
		}
	}
	for _, raw := range layers(s.rules.parking, warehouse) {
		p := r.Parking
		if n := len(nobody.found); readParking(&nobody, "", raw, &p) && len(nobody.found) == n {
			r.Parking = p
		}
	}
	for _, raw := range layers(s.rules.dispatch, warehouse) {
		m := matching{r.Policy, r.Active, r.BySight}
		if n := len(nobody.found); readDispatch(&nobody, "", raw, &m) && len(nobody.found) == n {
			r.Policy, r.BySight, r.Active = m.policy, m.bySight, m.active
		}
	}
	return r
}

// layers are the part for all warehouses, then the one for this.
func layers(raw json.RawMessage, warehouse fleet.WarehouseID) []json.RawMessage {
	var doc struct {
		Warehouses map[fleet.WarehouseID]json.RawMessage `json:"warehouses"`
	}
	if len(raw) == 0 || json.Unmarshal(raw, &doc) != nil {
		return nil
	}
	out := []json.RawMessage{raw}
	if own := doc.Warehouses[warehouse]; len(own) > 0 && !isNull(own) {
		out = append(out, own)
	}
	return out
}

// charging checks the rules of batteries.
func (c *checker) charging(raw json.RawMessage) {
	all := dispatch.UsualCharging()
	if readCharging(c, settingCharging+".", raw, &all) {
		c.sites(settingCharging, raw, func(at string, raw json.RawMessage) {
			own := all
			readCharging(c, at, raw, &own)
		})
	}
}

// parking checks the rules of idle robots.
func (c *checker) parking(raw json.RawMessage) {
	all := dispatch.UsualParking()
	if readParking(c, settingParking+".", raw, &all) {
		c.sites(settingParking, raw, func(at string, raw json.RawMessage) {
			own := all
			readParking(c, at, raw, &own)
		})
	}
}

// dispatch checks how tasks are matched with robots.
func (c *checker) dispatch(raw json.RawMessage) {
	var m matching
	if readDispatch(c, settingDispatch+".", raw, &m) {
		c.sites(settingDispatch, raw, func(at string, raw json.RawMessage) { readDispatch(c, at, raw, &m) })
	}
}

// sites checks what is said of single warehouses.
func (c *checker) sites(name string, raw json.RawMessage, read func(at string, raw json.RawMessage)) {
	var doc struct {
		Warehouses json.RawMessage `json:"warehouses"`
	}
	if json.Unmarshal(raw, &doc) != nil || len(doc.Warehouses) == 0 || isNull(doc.Warehouses) {
		return
	}
	var of map[string]json.RawMessage
	if json.Unmarshal(doc.Warehouses, &of) != nil || len(of) > maxSites {
		c.add(name+".warehouses", "want an object of at most %d warehouses by id", maxSites)
		return
	}
	for id, raw := range of {
		if isNull(raw) {
			continue
		}
		var nested map[string]json.RawMessage
		if json.Unmarshal(raw, &nested) == nil && nested["warehouses"] != nil {
			c.add(name+".warehouses."+bounded(id), "there is no such setting within a warehouse's own")
			continue
		}
		read(name+".warehouses."+bounded(id)+".", raw)
	}
}

// object reads an object and hands each member that is not null to take, which says whether there is such a setting.
func (c *checker) object(at string, raw json.RawMessage, take func(name string, value json.RawMessage) bool) bool {
	var doc map[string]json.RawMessage
	if json.Unmarshal(raw, &doc) != nil || doc == nil {
		c.add(at[:max(0, len(at)-1)], "want an object")
		return false
	}
	for name, value := range doc {
		if name != "warehouses" && !isNull(value) && !take(name, value) {
			c.add(at+bounded(name), "there is no such setting")
		}
	}
	return true
}

func readCharging(c *checker, at string, raw json.RawMessage, to *dispatch.Charging) bool {
	before := len(c.found)
	if !c.object(at, raw, func(name string, value json.RawMessage) bool {
		if name == "off" {
			if json.Unmarshal(value, &to.Off) != nil {
				c.add(at+name, "want true or false")
			}
			return true
		}
		i := slices.IndexFunc(levels[:], func(l level) bool { return l.name == name })
		if i < 0 {
			return false
		}
		var f float64
		if l := &levels[i]; json.Unmarshal(value, &f) != nil || math.IsNaN(f) || f < l.least || f > l.most {
			c.add(at+name, "want a number %g..%g", l.least, l.most)
		} else {
			*l.of(to) = f
		}
		return true
	}) {
		return false
	}
	if len(c.found) > before {
		return true
	}
	for i := 1; i < ordered; i++ {
		if a, b := *levels[i-1].of(to), *levels[i].of(to); b < a {
			c.add(at+levels[i].name, "want at least %s, %g: %g", levels[i-1].name, a, b)
		}
	}
	return true
}

func readParking(c *checker, at string, raw json.RawMessage, to *dispatch.Parking) bool {
	return c.object(at, raw, func(name string, value json.RawMessage) bool {
		switch name {
		case "off":
			if json.Unmarshal(value, &to.Off) != nil {
				c.add(at+name, "want true or false")
			}
		case "after_s":
			var f float64
			if json.Unmarshal(value, &f) != nil || f < 0 || f > maxAfter.Seconds() {
				c.add(at+name, "want a number 0..%.0f", maxAfter.Seconds())
			} else {
				to.After = time.Duration(f * float64(time.Second))
			}
		default:
			return false
		}
		return true
	})
}

// matching is how tasks are matched with robots, and how many robots hold tasks at once: as many as are said, or, where
// none are, by the floor or by what is seen.
type matching struct {
	policy  dispatch.Policy
	active  int
	bySight bool
}

// What bounds how many robots hold tasks at once, where no number does: the size of the floor, or what is seen on it.
const (
	activeByFloor = "floor"
	activeBySight = "sight"
	mostActive    = 100_000
)

func readDispatch(c *checker, at string, raw json.RawMessage, to *matching) bool {
	return c.object(at, raw, func(name string, value json.RawMessage) bool {
		var s string
		readable := json.Unmarshal(value, &s) == nil
		switch name {
		case "policy":
			if p, ok := dispatch.ParsePolicy(s); readable && ok {
				to.policy = p
				return true
			}
			c.add(at+name, "want one of %s", strings.Join(dispatch.Policies(), ", "))
		case "active":
			n := 0
			if !readable && (json.Unmarshal(value, &n) != nil || n < 1 || n > mostActive) || readable && s != activeByFloor && s != activeBySight {
				c.add(at+name, "want %s, %s or a number 1..%d", activeByFloor, activeBySight, mostActive)
				return true
			}
			to.active, to.bySight = n, s == activeBySight
		default:
			return false
		}
		return true
	})
}
