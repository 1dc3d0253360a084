package view

import (
	"testing"
	"time"
)

func TestEachTaskThatWasDoneWithinAMinuteCounts(t *testing.T) {
	t.Parallel()
	var p perSecond
	now := time.Unix(1_000_000, 0)
	for i := range 130 {
		for range 100 {
			p.add(now.Add(time.Duration(i) * time.Second))
		}
	}
	if n := p.within(now.Add(129 * time.Second)); n != 6000 {
		t.Errorf("counted %d of 100 a second", n)
	}
	if n := p.within(now.Add(150 * time.Second)); n != 3900 {
		t.Errorf("21 s later counted %d", n)
	}
	if n := p.within(now.Add(time.Hour)); n != 0 {
		t.Errorf("an hour later counted %d", n)
	}
}
