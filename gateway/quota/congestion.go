package quota

import (
	"encoding/json"

	"starling/engine/congestion"
	"starling/engine/fleet"
)

const settingCongestion = "congestion"

// Congestion is from when on zones and lanes of a warehouse count as congested, and what is done about it.
func (s *Settings) Congestion(warehouse fleet.WarehouseID) congestion.Settings {
	c := congestion.ReadSettings(s.congestion, string(warehouse))
	c.Version = s.version
	return c
}

// congestion checks what the settings say of it.
func (c *checker) congestion(raw json.RawMessage) {
	for _, f := range congestion.CheckSettings(raw) {
		field := settingCongestion
		if f.Field != "" {
			field += "." + f.Field
		}
		c.add(field, "%s", f.Problem)
	}
}
