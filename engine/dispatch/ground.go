package dispatch

import "starling/engine/roadmap"

// Ground is what robots of a warehouse drive on at this moment.
type Ground struct {
	Graph  *roadmap.Graph   // nil = no active map
	Tables roadmap.Tables   // of the graph
	Laid   *roadmap.Changes // what differs from the map now
}
