package roadmap_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"starling/engine/roadmap"
)

func TestLanesThatCrossAndVerticesTooCloseAreNamed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { // against every lane with every other, in whole numbers; a unit is a quarter metre
		scale := rapid.SampledFrom([]int{1, 4, 400}).Draw(t, "scale")
		type point struct{ x, y int }
		var at []point
		var vertices, lanes []string
		for i := range rapid.IntRange(2, 14).Draw(t, "vertices") {
			p := point{rapid.IntRange(-12, 12).Draw(t, "x") * scale, rapid.IntRange(-12, 12).Draw(t, "y") * scale}
			at = append(at, p)
			vertices = append(vertices, fmt.Sprintf(`{"id":"%d","x":%g,"y":%g}`, i, float64(p.x)/4, float64(p.y)/4))
		}
		pick := rapid.IntRange(0, len(at)-1)
		var ends [][2]int
		for range rapid.IntRange(0, 14).Draw(t, "lanes") {
			a, b := pick.Draw(t, "a"), pick.Draw(t, "b")
			if at[a] != at[b] {
				ends = append(ends, [2]int{a, b})
				lanes = append(lanes, fmt.Sprintf(`{"from":"%d","to":"%d"}`, a, b))
			}
		}
		_, r := roadmap.Import("starling", []byte(graphText(vertices, lanes, nil)), 0)
		named := map[string]bool{} // what a finding says
		crossed := map[[2]string]bool{}
		for _, f := range slices.Concat(r.Errors, r.Warnings) {
			ids := f.VertexIDs
			switch {
			case f.Code == roadmap.CodeCrossing:
				crossed[[2]string{ids[0], ids[1]}], crossed[[2]string{ids[2], ids[3]}] = true, true
			case f.Code == roadmap.CodeTooClose && len(ids) == 3:
				named["passed "+ids[0]] = true
			case f.Code == roadmap.CodeTooClose:
				named["close "+ids[1]] = true
			case f.Code == roadmap.CodeTooLarge:
				t.Fatal(f.Message)
			}
		}
		turn := func(o, a, b point) int {
			c := (a.x-o.x)*(b.y-o.y) - (a.y-o.y)*(b.x-o.x)
			return min(1, max(-1, c))
		}
		lane := func(e [2]int) [2]string {
			return [2]string{fmt.Sprint(min(e[0], e[1])), fmt.Sprint(max(e[0], e[1]))}
		}
		crossings := 0
		for i, e := range ends {
			for _, f := range ends[:i] {
				if slices.Contains(f[:], e[0]) || slices.Contains(f[:], e[1]) {
					continue
				}
				a, b, c, d := at[e[0]], at[e[1]], at[f[0]], at[f[1]]
				if turn(a, b, c)*turn(a, b, d) < 0 && turn(c, d, a)*turn(c, d, b) < 0 {
					crossings++
					if !crossed[lane(e)] || !crossed[lane(f)] {
						t.Fatalf("lanes %v and %v cross, named are %v", e, f, crossed)
					}
				}
			}
		}
		if crossings == 0 && len(crossed) > 0 {
			t.Fatalf("nothing crosses, named are %v", crossed)
		}
		for v, p := range at {
			passed, tight := false, false
			for _, e := range ends {
				a, b := at[e[0]], at[e[1]]
				dx, dy := b.x-a.x, b.y-a.y
				along, whole := (p.x-a.x)*dx+(p.y-a.y)*dy, dx*dx+dy*dy
				passed = passed || v != e[0] && v != e[1] && along > 0 && along < whole &&
					math.Abs(float64((p.x-a.x)*dy-(p.y-a.y)*dx)) < 2.4*math.Sqrt(float64(whole))
			}
			for w, q := range at[:v] {
				tight = tight || !named["close "+fmt.Sprint(w)] && math.Hypot(float64(p.x-q.x), float64(p.y-q.y)) < 2.4
			}
			if id := fmt.Sprint(v); passed != named["passed "+id] || tight != named["close "+id] {
				t.Fatalf("vertex %d: passed %v, close %v; named are %v", v, passed, tight, named)
			}
		}
	})
}

func TestALargeGraphWithoutFaultsIsImported(t *testing.T) {
	t.Parallel()
	const side = 150
	var vertices, lanes []string
	for i := range side * side {
		vertices = append(vertices, fmt.Sprintf(`{"id":"%d","x":%d,"y":%d}`, i, i%side, i/side))
		if i%side > 0 {
			lanes = append(lanes, fmt.Sprintf(`{"from":"%d","to":"%d","bidirectional":true}`, i-1, i))
		}
		if i >= side {
			lanes = append(lanes, fmt.Sprintf(`{"from":"%d","to":"%d","bidirectional":true}`, i-side, i))
		}
	}
	if d, r := roadmap.Import("starling", []byte(graphText(vertices, lanes, nil)), 0); !r.OK() || len(d.Lanes) != 4*side*(side-1) {
		t.Errorf("%+v", r)
	}
}

func TestLanesTooDenseToBeCheckedAreRefused(t *testing.T) {
	t.Parallel()
	var vertices, lanes []string
	for i := range 16_000 {
		vertices = append(vertices, fmt.Sprintf(`{"id":"a%d","x":0,"y":%g},{"id":"b%d","x":900,"y":%g}`, i, float64(i)/100, i, float64(i)/100))
		lanes = append(lanes, fmt.Sprintf(`{"from":"a%d","to":"b%d"}`, i, i))
	}
	_, r := roadmap.Import("starling", []byte(graphText(vertices, lanes, nil)), 0)
	said(t, &r, roadmap.CodeTooLarge, "too long and too dense")
}
