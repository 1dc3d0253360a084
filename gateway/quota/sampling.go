package quota

import (
	"encoding/json"
	"math"

	"starling/engine/fleet"
	"starling/engine/robot"
)

// rates are the numbers of how closely robots are watched, by their names in settings.
var rates = [...]struct {
	name string
	of   func(*robot.Sampling) *float64
}{
	{"moving_hz", func(s *robot.Sampling) *float64 { return &s.MovingHz }},
	{"idle_hz", func(s *robot.Sampling) *float64 { return &s.IdleHz }},
	{"alarmed_hz", func(s *robot.Sampling) *float64 { return &s.AlarmedHz }},
}

// Sampling is how closely robots of one warehouse are watched: what its own part of the settings says, else the tenant's,
// else what is usual.
func (s *Settings) Sampling(warehouse fleet.WarehouseID) robot.Sampling {
	out := robot.UsualSampling()
	var nobody checker
	for _, raw := range layers(s.rules.sampling, warehouse) {
		next := out
		if n := len(nobody.found); readSampling(&nobody, "", raw, &next) && len(nobody.found) == n {
			out = next
		}
	}
	return out
}

// sampling checks how closely robots are watched.
func (c *checker) sampling(raw json.RawMessage) {
	all := robot.UsualSampling()
	if readSampling(c, settingSampling+".", raw, &all) {
		c.sites(settingSampling, raw, func(at string, raw json.RawMessage) {
			own := all
			readSampling(c, at, raw, &own)
		})
	}
}

func readSampling(c *checker, at string, raw json.RawMessage, to *robot.Sampling) bool {
	return c.object(at, raw, func(name string, value json.RawMessage) bool {
		for _, r := range rates {
			if r.name != name {
				continue
			}
			var f float64
			if json.Unmarshal(value, &f) != nil || math.IsNaN(f) || f < robot.LeastHz || f > robot.MostHz {
				c.add(at+name, "want a number %g..%g: statuses a second", robot.LeastHz, robot.MostHz)
			} else {
				*r.of(to) = f
			}
			return true
		}
		return false
	})
}
