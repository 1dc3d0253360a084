package roadmap_test

import (
	"testing"

	"starling/engine/roadmap"
)

func TestARingThatCrossesItselfIsRefusedButCanBeReadFromStore(t *testing.T) {
	t.Parallel()
	p, err := roadmap.ParsePolygon([]byte(`{"type":"Polygon","coordinates":[[[0,5],[4,9],[4,5],[1,8],[0,5]]]}`))
	if err != nil {
		t.Errorf("not read: %v", err)
	}
	if p.Check() == nil {
		t.Error("not refused")
	}
	if _, err := roadmap.ParsePolygon([]byte(`{"type":"Polygon","coordinates":[[[0,5],[4,9],[4,5],[0,5]]]} {}`)); err == nil {
		t.Error("more than one value is read")
	}
	if p, err := roadmap.ParsePolygon([]byte(`{"type":"Polygon","coordinates":[[[0,0],[4,0],[4,4],[2,1],[0,4],[0,0]]]}`)); err != nil || p.Check() != nil {
		t.Errorf("a hollow ring is refused: %v, %v", err, p.Check())
	}
}
