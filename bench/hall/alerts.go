package hall

import (
	"starling/engine/alert"
	"starling/engine/fleet"
)

// AlertChanged implements actors.Views.
func (views) AlertChanged(fleet.Shard, *alert.Event, *alert.View) {}
