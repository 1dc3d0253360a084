package dispatch

import (
	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// costFrom is what the way to the table's goal costs from a vertex, roadmap.Unreachable where there is none.
func costFrom(t *roadmap.Table, v fleet.Vertex) uint16 { return t.To(v) }
