package sim

import (
	"starling/engine/fleet"
	"starling/engine/robot"
)

// Film is a scenario's run as a player shows it. Places are metres in the map's frame, x to the east, y to the north,
// from the south-west corner of the floor; times are seconds since the scenario began.
type Film struct {
	Name   string     `json:"name"`
	Title  string     `json:"title"`
	About  string     `json:"about"`
	Floor  FilmFloor  `json:"floor"`
	Zones  []FilmZone `json:"zones"`
	Frames []Frame    `json:"frames"`
}

// FilmFloor is the floor: rows of cells from the north on; "@" is a wall, one of "<>^v" a one-way cell, all else free.
type FilmFloor struct {
	Rows  int      `json:"rows"`
	Cols  int      `json:"cols"`
	CellM float64  `json:"cell_m"`
	Cells []string `json:"cells"`
}

// FilmZone is a zone and its cells, numbered row by row from the north-west corner.
type FilmZone struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Cells []int  `json:"cells"`
}

// Frame is one moment. Events are what happened since the frame before.
type Frame struct {
	T      float64      `json:"t"`
	Robots []FrameRobot `json:"robots"`
	Events []string     `json:"events"`
}

// FrameRobot is one robot at that moment. Goal is a cell number, -1 = none; WaitsFor a robot's id; Cause "" = it does not wait.
type FrameRobot struct {
	ID       string  `json:"id"`
	X        float64 `json:"x"`
	Y        float64 `json:"y"`
	Theta    float64 `json:"theta"`
	RadiusM  float64 `json:"radius_m"`
	Goal     int     `json:"goal"`
	Task     string  `json:"task"`
	WaitsFor string  `json:"waits_for"`
	Cause    string  `json:"cause"`
}

// picture is where the robot is this very moment.
func (t *story) picture(d *device, v *robot.View) FrameRobot {
	g, now := d.site.graph, d.site.w.clock.now
	a := &g.Vertices[d.at]
	x, y := a.X, a.Y
	if d.to != fleet.NoVertex && d.due > d.left {
		b := &g.Vertices[d.to]
		share := min(1, float64(now-d.left)/float64(d.due-d.left))
		x, y = a.X+share*(b.X-a.X), a.Y+share*(b.Y-a.Y)
	}
	f := FrameRobot{ID: t.st.names[d.index], X: round(x), Y: round(y), Theta: round(d.heading), RadiusM: d.radius, Goal: -1, Task: t.tasks[string(v.Task)]}
	if v.Goal != fleet.NoVertex {
		f.Goal = t.cell(v.Goal)
	}
	if v.Waiting.Cause != fleet.CauseNone {
		f.WaitsFor, f.Cause = t.name(v.Waiting.Holder), v.Waiting.Cause.String()
	}
	return f
}

// round keeps millimetres.
func round(x float64) float64 {
	if x < 0 {
		return -round(-x)
	}
	return float64(int64(x*1000+0.5)) / 1000
}

// cell is the number of a vertex's cell.
func (t *story) cell(v fleet.Vertex) (n int) {
	for _, r := range t.st.s.graph.Vertices[v].ID {
		n = n*10 + int(r-'0')
	}
	return n
}

func (t *story) film() Film {
	sc, g := t.st.sc, t.st.s.graph
	f := Film{
		Name: sc.Name, Title: sc.Title, About: sc.About, Frames: t.frames,
		Floor: FilmFloor{Rows: len(sc.Floor), Cols: sc.cols, CellM: sc.Cell, Cells: sc.Floor},
	}
	for i := range g.Zones {
		z := FilmZone{ID: string(g.Zones[i].ID), Name: g.Zones[i].Name}
		for _, v := range g.Zones[i].Vertices {
			z.Cells = append(z.Cells, t.cell(v))
		}
		f.Zones = append(f.Zones, z)
	}
	return f
}
