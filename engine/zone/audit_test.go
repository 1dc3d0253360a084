package zone

import (
	"strings"
	"testing"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

func TestAuditNoticesBooksThatDisagree(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(s *State)
		want  string
	}{
		"an occupant who is gone":          {func(s *State) { s.admitAt("r", 0); s.guests[0] = guest{} }, "occupant of 0"},
		"a guest whom the vertex forgot":   {func(s *State) { s.admitAt("r", 0); s.occ[0] = none }, "stands on 0"},
		"a claim of one who is gone":       {func(s *State) { s.admitAt("r", 0); s.claim[1] = 0; s.occ[0] = none; s.guests[0] = guest{} }, "claimed by guest 0"},
		"a claim of one who goes nowhere":  {func(s *State) { s.admitAt("r", 0); s.claim[1] = 0 }, "goes to -1"},
		"a grant that the robot lacks":     {func(s *State) { s.admitAt("r", 0); s.claim[1], s.granted[1] = 0, true }, "granted to r"},
		"a grant to nobody":                {func(s *State) { s.granted[1] = true }, "granted to nobody"},
		"displaced robots counted wrongly": {func(s *State) { s.displaced = 1 }, "0 robots are displaced"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			draft, _ := roadmap.Import("movingai", []byte("type octile\nheight 2\nwidth 2\nmap\n..\n..\n"), 1)
			g, err := roadmap.Build(draft, roadmap.BuildOptions{MapID: "m", MaxZone: 100})
			if err != nil {
				t.Fatal(err)
			}
			g.ZoneOf, g.Local = make([]int32, 4), []int32{0, 1, 2, 3}
			g.Zones = []roadmap.Zone{{ID: "z", Vertices: []fleet.Vertex{0, 1, 2, 3}, Capacity: 4}}
			s := New(g, 0, roadmap.NewTableMap(g, 4), Rules{}, 1, 1)
			if err := s.Audit(); err != nil {
				t.Fatalf("a new zone: %v", err)
			}
			c.spoil(s)
			if err := s.Audit(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// admitAt puts a robot on a vertex.
func (s *State) admitAt(id fleet.RobotID, v fleet.Vertex) {
	i, g := s.admit(id)
	g.at = v
	s.occ[s.ours(v)] = i
}
