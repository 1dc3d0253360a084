package congestion

import (
	"slices"
	"time"
)

// Replay scores statuses of before once more: the one way in which figures are computed again. Given the statuses that a site was
// given, those of each robot in their order, and what the site had learned when it began, it comes to the same figures to the last
// digit, however the robots are mixed. emit is called for each bin; the scores are valid until it returns.
//
// It sorts the samples by when they were received; those of one robot keep their order.
func Replay(spec SiteSpec, learned *Learned, samples []Sample, emit func(end time.Time, scores []Score)) Counts {
	slices.SortStableFunc(samples, func(a, b Sample) int { return a.ReceivedAt.Compare(b.ReceivedAt) })
	s := NewSite(spec)
	if learned != nil {
		s.Learn(learned)
	}
	for i := range samples {
		at := samples[i].ReceivedAt
		for s.Due(at) {
			emit(s.End(), s.Close(at))
		}
		s.Add(&samples[i])
	}
	if n := len(samples); n > 0 {
		last := samples[n-1].ReceivedAt.Add(Grace + Slack)
		for s.Due(last) {
			emit(s.End(), s.Close(last))
		}
	}
	return s.Counts()
}

// End is when the bin ends that Close closes next; zero = nothing has come yet.
func (s *Site) End() time.Time {
	if s.first == 0 {
		return time.Time{}
	}
	return time.UnixMilli((s.first + 1) * binMS).UTC()
}
