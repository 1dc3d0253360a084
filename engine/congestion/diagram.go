package congestion

// Diagram is a zone's macroscopic fundamental diagram as it was seen lately: production, in moves per second, over
// density, in robots per vertex. Geroliminis and Daganzo (2008) found it for city districts; the notes measured it here.
// Bins of equal width with forgetting means: 25 numbers however long it learns. The zero value has seen nothing.
type Diagram struct {
	bins [binCount]bin
}

type bin struct {
	weight, density, production float64
}

// Learn takes one sample.
func (d *Diagram) Learn(density, production float64) {
	for i := range d.bins {
		d.bins[i].weight *= memory
	}
	b := &d.bins[min(binCount-1, max(0, int(density*binCount)))]
	b.weight++
	step := 1 / min(b.weight, heavy)
	b.density += (density - b.density) * step
	b.production += (production - b.production) * step
}

// smooth is the bin's production with its neighbours' counted half; false where too little was seen.
func (d *Diagram) smooth(i int) (float64, bool) {
	if d.bins[i].weight < enough {
		return 0, false
	}
	sum, weight := 0.0, 0.0
	for j := max(0, i-1); j <= min(binCount-1, i+1); j++ {
		w := min(d.bins[j].weight, heavy)
		if j != i {
			w /= 2
		}
		sum, weight = sum+w*d.bins[j].production, weight+w
	}
	return sum / weight, true
}

// Peak is the greatest production that was seen and the density at which it was. It is known to be the peak, and not just
// the densest so far, once production has fallen beyond it.
func (d *Diagram) Peak() (density, production float64, known bool) {
	for i := range d.bins {
		if p, ok := d.smooth(i); ok && p > production {
			density, production = d.bins[i].density, p
		}
	}
	for i := range d.bins {
		if p, ok := d.smooth(i); ok && d.bins[i].density > density && p < fallen*production {
			return density, production, true
		}
	}
	return density, production, false
}

// Expect is the production that was seen at the density, interpolated; false where nothing near was seen.
func (d *Diagram) Expect(density float64) (float64, bool) {
	lower, upper := -1, -1
	for i := range d.bins {
		if d.bins[i].weight < 1 {
			continue
		}
		if d.bins[i].density <= density {
			lower = i
		} else if upper < 0 {
			upper = i
		}
	}
	switch {
	case lower < 0 && upper < 0:
		return 0, false
	case upper < 0:
		return d.bins[lower].production, true
	}
	var a bin // nobody moves nothing
	if lower >= 0 {
		a = d.bins[lower]
	}
	b := d.bins[upper]
	return a.production + (b.production-a.production)*(density-a.density)/(b.density-a.density), true
}
