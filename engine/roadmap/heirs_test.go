package roadmap_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

func TestHeirsAreWhoHasAZonesVerticesNow(t *testing.T) {
	t.Parallel()
	build := func(cells string, zones map[string][2]int) *roadmap.Graph {
		src := `{"vertices":[`
		for i, c := range cells {
			src += `{"id":"` + string(c) + `","x":` + string(rune('0'+i)) + `,"y":0},`
		}
		src = strings.TrimSuffix(src, ",") + `],"lanes":[`
		for i := 1; i < len(cells); i++ {
			src += `{"from":"` + cells[i-1:i] + `","to":"` + cells[i:i+1] + `","bidirectional":true},`
		}
		src = strings.TrimSuffix(src, ",") + `]}`
		d, r := roadmap.Import("starling", []byte(src), 0)
		if d == nil {
			t.Fatal(r)
		}
		g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "m", Version: 1})
		if err != nil {
			t.Fatal(err)
		}
		g.Zones = nil
		for _, name := range slices.Sorted(maps.Keys(zones)) {
			span := zones[name]
			for v := span[0]; v < span[1]; v++ {
				g.ZoneOf[v] = int32(len(g.Zones))
			}
			g.Zones = append(g.Zones, roadmap.Zone{ID: fleet.ZoneID(name)})
		}
		return g
	}
	old := build("abcdef", map[string][2]int{"x": {0, 3}, "y": {3, 6}})
	now := build("abcdeg", map[string][2]int{"x": {0, 2}, "z": {2, 6}})
	heirs, ended := roadmap.Heirs(old, now)
	if !slices.Equal(heirs, []roadmap.Heir{{Zone: "x", Heir: "z"}, {Zone: "y", Heir: "z"}}) || !slices.Equal(ended, []fleet.ZoneID{"y"}) {
		t.Errorf("heirs %v, ended %v", heirs, ended)
	}
	if heirs, ended = roadmap.Heirs(nil, now); len(heirs)+len(ended) > 0 {
		t.Errorf("of no map: %v %v", heirs, ended)
	}
	if now.Keeps(old) || !old.Keeps(build("abcde", map[string][2]int{"x": {0, 5}})) {
		t.Error("which map keeps the ways of which")
	}
}
