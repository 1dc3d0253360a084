package roadmap

import "testing"

// FuzzPolygon reads polygons of any text: what is taken has a form, and its check ends.
func FuzzPolygon(f *testing.F) {
	f.Add([]byte(`{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}`))
	f.Add([]byte(`{"type":"Polygon","coordinates":[[[0,0],[1,1],[1,0],[0,1],[0,0]]]}`))
	f.Add([]byte(`{"type":"Polygon","coordinates":[[[0,0],[1e400,0],[null,1],[0,0]]]}`))
	f.Add([]byte(`{"type":"Polygon","coordinates":[[],[]]} {}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := ParsePolygon(raw)
		if err != nil {
			return
		}
		if len(p) < 4 || len(p) > maxRing || p[0] != p[len(p)-1] {
			t.Fatalf("%q is taken as %v", raw, p)
		}
		_ = p.Check()
	})
}
