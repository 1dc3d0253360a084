package congestion

import "starling/engine/fleet"

// Learned is what a site has learned of its floor and keeps over restarts and new versions of the map, as JSON. Numbers survive
// that to the last digit. About 1 kB a zone.
type Learned struct {
	Zones   map[fleet.ZoneID]LearnedPart `json:"zones"`
	Classes [OneLane + 1]LearnedPart     `json:"classes"` // open, aisle, one_lane; production is per vertex
	Speeds  []uint32                     `json:"speeds,omitempty"`
	OfZones []uint32                     `json:"of_zones,omitempty"` // how indices were distributed
	OfLanes []uint32                     `json:"of_lanes,omitempty"`
	Miss    float64                      `json:"miss"` // mean square by which forecasts were off
}

// LearnedPart is of one zone or class: its macroscopic diagram, and how fast robots drove when nobody was in the way.
type LearnedPart struct {
	Diagram []DiagramBin `json:"diagram,omitempty"`
	Speeds  []uint32     `json:"speeds,omitempty"` // counts of twentieths of a metre a second
}

// DiagramBin is one bin of a Diagram: production, in moves a second, at a density, in robots per vertex. Weight: samples
// that count, the old ones less.
type DiagramBin struct {
	Bin        int     `json:"bin"`
	Weight     float64 `json:"weight"`
	Density    float64 `json:"density"`
	Production float64 `json:"production"`
}

// Bins are the bins of which something is known.
func (d *Diagram) Bins() []DiagramBin {
	var out []DiagramBin
	for i := range d.bins {
		if b := &d.bins[i]; b.weight > 0 {
			out = append(out, DiagramBin{i, b.weight, b.density, b.production})
		}
	}
	return out
}

// Restore makes the diagram what Bins told. What cannot be is left out.
func (d *Diagram) Restore(bins []DiagramBin) {
	*d = Diagram{}
	for _, b := range bins {
		if b.Bin >= 0 && b.Bin < binCount && b.Weight > 0 && b.Density >= 0 && b.Production >= 0 {
			d.bins[b.Bin] = bin{b.Weight, b.Density, b.Production}
		}
	}
}

// counted are the counts up to the last that is not 0.
func (s *Spread) counted() []uint32 {
	n := len(s.counts)
	for n > 0 && s.counts[n-1] == 0 {
		n--
	}
	return append([]uint32(nil), s.counts[:n]...)
}

func (s *Spread) restore(counts []uint32) {
	*s = Spread{}
	for i, c := range counts[:min(len(counts), spreadBins)] {
		c = min(c, 1<<24)
		s.counts[i] = c
		s.total += c
	}
}

func (l *learner) part() LearnedPart {
	return LearnedPart{Diagram: l.diagram.Bins(), Speeds: l.speeds.counted()}
}

func (l *learner) restore(p LearnedPart) {
	l.diagram.Restore(p.Diagram)
	l.speeds.restore(p.Speeds)
}

// Learned is what the site has learned so far, a copy.
func (s *Site) Learned() Learned {
	c := &s.score
	out := Learned{
		Zones: make(map[fleet.ZoneID]LearnedPart, len(c.zones)), Speeds: c.speeds.counted(), OfZones: c.ofZones.counted(), OfLanes: c.ofLanes.counted(), Miss: c.miss,
	}
	for z := range c.zones {
		if p := c.zones[z].part(); len(p.Diagram)+len(p.Speeds) > 0 {
			out.Zones[s.g.Zones[z].ID] = p
		}
	}
	for i := range c.classes {
		out.Classes[i] = c.classes[i].part()
	}
	return out
}

// Learn makes the site know what another had learned. Zones that the map does not have are left out. Best before the first
// status: it replaces what the site has learned itself.
func (s *Site) Learn(l *Learned) {
	c := &s.score
	for id, p := range l.Zones {
		if z, known := s.zoneOf[id]; known {
			c.zones[z].restore(p)
		}
	}
	for i := range c.classes {
		c.classes[i].restore(l.Classes[i])
	}
	c.speeds.restore(l.Speeds)
	c.ofZones.restore(l.OfZones)
	c.ofLanes.restore(l.OfLanes)
	if l.Miss > 0 {
		c.miss = l.Miss
	}
}

// Shown is what a zone's macroscopic diagram looks like, for people.
type Shown struct {
	Zone       fleet.ZoneID
	Kind       Kind
	Class      Class
	Capacity   int
	Own        []DiagramBin // as seen in the zone: moves a second over robots per vertex
	OfClass    []DiagramBin // as seen in all zones of its class, scaled to its size
	Critical   float64      // density of greatest production: seen, else of its class
	Greatest   float64      // production there, moves/s; 0 = not seen yet
	Known      bool         // production was seen to fall beyond it
	FreeMPS    float64      // that robots drive there when nobody is in the way; 0 = not known yet
	Density    float64      // where the zone is now
	Production float64
}

// Diagram is what a zone's macroscopic diagram looks like and where the zone stood when its last bin was closed; false = there is no such
// zone.
func (s *Site) Diagram(id fleet.ZoneID) (Shown, bool) {
	z, known := s.zoneOf[id]
	if !known {
		return Shown{}, false
	}
	t, class, capacity := &s.score.zones[z], s.classes[z], s.g.Zones[z].Capacity
	out := Shown{Zone: id, Kind: s.kinds[z], Class: class, Capacity: capacity, Own: t.diagram.Bins(), OfClass: s.score.classes[class].diagram.Bins()}
	for i := range out.OfClass {
		out.OfClass[i].Production *= float64(capacity)
	}
	_, _, out.Known = t.diagram.Peak()
	out.Critical, out.Greatest = s.score.peak(z, class, float64(max(1, capacity)))
	out.FreeMPS = s.score.freeMPS(z, class)
	if int(z) < len(s.score.out) {
		out.Density, out.Production = s.score.out[z].Density, s.score.out[z].Production
	}
	return out, true
}

// KindOf is of which kind a zone is, for settings.
func (s *Site) KindOf(id fleet.ZoneID) (Kind, bool) {
	z, known := s.zoneOf[id]
	if !known {
		return 0, false
	}
	return s.kinds[z], true
}

// DiagramOf is a zone's macroscopic diagram as the site has learned it, its class's, and whether the zone is known.
func (s *Site) DiagramOf(id fleet.ZoneID) (own, class Diagram, known bool) {
	z, known := s.zoneOf[id]
	if !known {
		return own, class, false
	}
	return s.score.zones[z].diagram, s.score.classes[s.classes[z]].diagram, true
}
