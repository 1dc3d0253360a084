package congestion

// Spread is how a quantity was distributed lately: a histogram of whole counts, all halved when there are too many, so
// that the old fades. The zero value has seen nothing.
type Spread struct {
	counts [spreadBins]uint32
	total  uint32
}

const spreadBins = 100

// learn counts a value of 0..1. Beyond most, all counts are halved.
func (s *Spread) learn(v float64, most uint32) {
	s.counts[min(spreadBins-1, max(0, int(v*spreadBins)))]++
	if s.total++; s.total < most {
		return
	}
	s.total = 0
	for i := range s.counts {
		s.counts[i] /= 2
		s.total += s.counts[i]
	}
}

// Quantile is the value below which the share q of what was seen lies, interpolated; false where fewer than least values were seen.
func (s *Spread) Quantile(q float64, least uint32) (float64, bool) {
	if s.total < max(1, least) {
		return 0, false
	}
	want := q * float64(s.total)
	sum := 0.0
	for i, c := range s.counts {
		if n := float64(c); sum+n >= want && c > 0 {
			return (float64(i) + (want-sum)/n) / spreadBins, true
		}
		sum += float64(c)
	}
	return 1, true
}
