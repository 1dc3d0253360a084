package roadmap_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"starling/engine/roadmap"
)

// graphText is a source of format starling.
func graphText(vertices, lanes, zones []string) string {
	return `{"vertices":[` + strings.Join(vertices, ",") + `],"lanes":[` + strings.Join(lanes, ",") + `],"zones":[` + strings.Join(zones, ",") + `]}`
}

func codes(fs []roadmap.Finding) map[string]int {
	n := map[string]int{}
	for i := range fs {
		n[fs[i].Code]++
	}
	return n
}

func said(t *testing.T, r *roadmap.Report, code, message string) {
	t.Helper()
	for _, f := range r.Errors {
		if f.Code == code && strings.Contains(f.Message, message) {
			return
		}
	}
	t.Errorf("no %s with %q in %+v", code, message, r.Errors)
}

func TestAVertexIsInTheZoneItIsDrawnIn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { // against each vertex with each polygon
		var vertices, zones []string
		at := rapid.IntRange(-20, 20)
		for i := range rapid.IntRange(1, 40).Draw(t, "vertices") {
			vertices = append(vertices, fmt.Sprintf(`{"id":"%d","x":%d,"y":%d}`, i, at.Draw(t, "x"), at.Draw(t, "y")))
		}
		for i := range rapid.IntRange(0, 5).Draw(t, "zones") {
			x, y, w, h := at.Draw(t, "x0"), at.Draw(t, "y0"), rapid.IntRange(1, 25).Draw(t, "w"), rapid.IntRange(1, 25).Draw(t, "h")
			zones = append(zones, fmt.Sprintf(`{"name":"z%d","polygon":{"type":"Polygon","coordinates":[[[%d,%d],[%d,%d],[%d,%d],[%d,%d]]]}}`, i, x, y, x+w, y, x, y+h, x, y))
		}
		d, r := roadmap.Import("starling", []byte(graphText(vertices, nil, zones)), 0)
		g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: mapID, MaxZone: 8})
		if err != nil {
			t.Fatal(err)
		}
		overlaps := 0
		for v := range g.Vertices {
			name, in := "", 0
			for _, a := range d.Areas {
				if a.Polygon.Contains(g.Vertices[v].X, g.Vertices[v].Y) {
					if in++; in == 1 {
						name = a.Name
					}
				}
			}
			if got := g.Zones[g.ZoneOf[v]].Name; in > 0 && got != name || in == 0 && !strings.HasPrefix(got, "block-") {
				t.Fatalf("vertex %d is in zone %s, drawn in %q", v, got, name)
			}
			if in > 1 {
				overlaps++
			}
		}
		if n := codes(r.Errors)[roadmap.CodeZoneOverlap]; n != overlaps {
			t.Fatalf("%d overlaps found, there are %d", n, overlaps)
		}
	})
}

func TestZonesHaveTheirBounds(t *testing.T) {
	t.Parallel()
	var vertices []string
	for i := range 10_000 {
		vertices = append(vertices, fmt.Sprintf(`{"id":"%d","x":%d,"y":%d}`, i, i%100, i/100))
	}
	zone := func(points string) string {
		return `{"polygon":{"type":"Polygon","coordinates":[[` + points + `]]}}`
	}
	many := func(n int, one string) []string {
		all := make([]string, n)
		for i := range all {
			all[i] = one
		}
		return all
	}
	square := zone("[0,0],[1,0],[1,1],[0,0]")
	_, r := roadmap.Import("starling", []byte(graphText(vertices[:4], nil, many(roadmap.MaxZones+1, square))), 0)
	said(t, &r, roadmap.CodeTooLarge, "zones: too many, at most 4096")

	var comb strings.Builder // a ring around the floor with no vertex in it, and with many corners
	for i := range 40 {
		fmt.Fprintf(&comb, "[%g,-9],", -9+float64(i))
	}
	ring := "[-10,200]," + "[-10,-10],[200,-10],[200,-9]," + reversed(comb.String()) + "[-9,200],[-10,200]"
	_, r = roadmap.Import("starling", []byte(graphText(vertices, nil, many(roadmap.MaxZones, zone(ring)))), 0)
	said(t, &r, roadmap.CodeTooLarge, "comparisons")

	_, r = roadmap.Import("starling", []byte(graphText(vertices[:4], nil, many(300, zone(strings.Repeat("[0,0],[1,0],[1,1],", 300)+"[0,0]")))), 0)
	said(t, &r, roadmap.CodeTooLarge, "points together")
}

func reversed(points string) string {
	p := strings.Split(strings.TrimSuffix(points, "],"), "],")
	var b strings.Builder
	for i := len(p) - 1; i >= 0; i-- {
		b.WriteString(p[i] + "],")
	}
	return b.String()
}

func TestAVertexHasABoundedNumberOfLanes(t *testing.T) {
	t.Parallel()
	vertices, lanes := []string{`{"id":"hub","x":0,"y":0}`}, []string{}
	for i := range 65 {
		vertices = append(vertices, fmt.Sprintf(`{"id":"%d","x":%d,"y":100}`, i, 2*i))
		lanes = append(lanes, fmt.Sprintf(`{"from":"hub","to":"%d","bidirectional":true}`, i))
	}
	_, r := roadmap.Import("starling", []byte(graphText(vertices, lanes, nil)), 0)
	said(t, &r, roadmap.CodeTooLarge, "65 lanes leave or enter the vertex")
	if r.Errors[0].VertexIDs[0] != "hub" {
		t.Errorf("%+v", r.Errors)
	}
	_, r = roadmap.Import("starling", []byte(graphText(vertices[:65], lanes[:64], nil)), 0)
	if n := codes(r.Errors)[roadmap.CodeTooLarge]; n > 0 {
		t.Errorf("%+v", r.Errors)
	}
}

func TestNoMapMakesMoreZonesThanThereMayBe(t *testing.T) {
	t.Parallel()
	// A crowd that no block of the plane is small enough for, and a vertex in each of very many blocks besides.
	var vertices []string
	for i := range 1100 {
		vertices = append(vertices, fmt.Sprintf(`{"id":"c%d","x":%g,"y":0.5}`, i, 0.5+float64(i)/1e5))
	}
	for i := range 6000 {
		vertices = append(vertices, fmt.Sprintf(`{"id":"v%d","x":%d,"y":%d}`, i, i%80*100, i/80*100))
	}
	for format, text := range map[string]string{
		"starling": graphText(vertices, nil, nil),
		"movingai": "type octile\nheight 1\nwidth 200000\nmap\n" + strings.Repeat(".", 200_000) + "\n",
	} {
		d, _ := roadmap.Import(format, []byte(text), 1)
		g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: mapID})
		if err != nil || len(g.Zones) > roadmap.MaxZones {
			t.Errorf("%s: %d zones, %v", format, len(g.Zones), err)
		}
	}
}

func TestASourceIsReadNoFurtherThanItsBounds(t *testing.T) { // alone, since it counts what is allocated
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, r := roadmap.Import("starling", []byte(`{"vertices":[`+strings.Repeat("{},", 8<<20)+`{}]}`), 0)
	runtime.ReadMemStats(&after)
	said(t, &r, roadmap.CodeTooLarge, "vertices: too many, at most 1000000 are taken")
	if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > 700 { // as much as all of them would take is more
		t.Errorf("%d MiB were allocated", got)
	}
}

func TestWhatCannotBeReadIsSaid(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"vertices":[],"vertices":[]}`:      "vertices: appears more than once",
		`{"vertices":[{"id":"a"},{"id":1}]}`: "vertices[1]: id: want string",
		`{"vertices":[7]}`:                   "vertices[0]: want an object",
		`{"lanes":{}}`:                       "lanes: want a list",
		`{"lanes":[{"form":"a"}]}`:           `lanes[0]: unknown field "form"`,
		`{"nodes":[]}`:                       "unknown field; want vertices, lanes and zones",
		`{"vertices":[{"id":"a"}`:            "not JSON, it ends too early",
		`{"vertices":[{"id":"a"} {}]}`:       "not JSON after byte",
		`{"vertices":[]} {}`:                 "more than one JSON value",
		`[]`:                                 "not a JSON map",
		``:                                   "ends too early",
	} {
		_, r := roadmap.Import("starling", []byte(text), 0)
		said(t, &r, roadmap.CodeUnreadable, want)
	}
}
