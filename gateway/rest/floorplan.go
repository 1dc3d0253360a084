package rest

import (
	"context"
	"math"
	"net/http"
	"strconv"

	"starling/engine/roadmap"
	"starling/gateway/auth"
)

// gridBody is a grid map: its cells as bits.
type gridBody struct {
	Rows  int      `json:"rows"`
	Cols  int      `json:"cols"`
	ResM  float64  `json:"resolution_m"`
	Cells []byte   `json:"free" doc:"one bit a cell, row-major, the lowest bit first: 1 = free. Row 0 is the top one"`
	_     struct{} `nullable:"true"`
}

// netBody is a map of vertices and lanes, as columns.
type netBody struct {
	IDs   []string   `json:"ids"`
	X     []float64  `json:"x"`
	Y     []float64  `json:"y"`
	Lanes [][2]int32 `json:"lanes" doc:"from and to, as numbers in the columns; a two-way road is listed once"`
	_     struct{}   `nullable:"true"`
}

type placeBody struct {
	Vertex   string  `json:"vertex"`
	Name     *string `json:"name"`
	X        float64 `json:"x"`
	Y        float64 `json:"y"`
	Parking  bool    `json:"parking"`
	Charging bool    `json:"charging"`
}

type floorPlanBody struct {
	MapID   string      `json:"map_id" format:"uuid"`
	Version int         `json:"version"`
	Bounds  [4]float64  `json:"bounds" doc:"x0, y0, x1, y1 in map metres"`
	Grid    *gridBody   `json:"grid"`
	Net     *netBody    `json:"net"`
	Places  []placeBody `json:"places" doc:"vertices with a name, chargers, and parking places where not most vertices are; at most 10,000"`
}

const maxPlaces = 10_000

// floorPlan is a map version in one answer, small enough to be drawn: a floor of 70,000 cells takes 12 kB.
func (a *api) floorPlan() {
	type get struct {
		ID string `path:"map_id" format:"uuid"`
		N  int    `path:"n" minimum:"1" maximum:"2000000000"`
	}
	type out struct{ Body floorPlanBody }
	add(a, op{method: http.MethodGet, path: "/api/v1/maps/{map_id}/versions/{n}/floor-plan", id: "get-floor-plan", summary: "A version as a picture needs it: free cells, or vertices and lanes", tag: "maps", also: []int{412}},
		func(ctx context.Context, who *auth.Identity, in *get) (*out, error) {
			g, _, err := a.graph(ctx, who, in.ID, in.N)
			if err != nil {
				return nil, err
			}
			if g == nil {
				return nil, newError(http.StatusPreconditionFailed, codePrecondition, "a version with errors has no floor plan")
			}
			return &out{floorPlanOf(g)}, nil
		})
}

func floorPlanOf(g *roadmap.Graph) floorPlanBody {
	b := floorPlanBody{MapID: string(g.MapID), Version: g.Version, Places: []placeBody{}}
	if g.Rows > 0 {
		b.Grid = gridOf(g)
		b.Bounds = [4]float64{0, 0, float64(g.Cols) * g.ResM, float64(g.Rows) * g.ResM}
	} else {
		b.Net = netOf(g)
		b.Bounds = boundsOf(g)
	}
	parking := 0
	for i := range g.Vertices {
		if g.Vertices[i].Parking {
			parking++
		}
	}
	apart := 2*parking < len(g.Vertices) // where robots may rest anywhere, a parking place is nothing to point at
	for i := range g.Vertices {
		v := &g.Vertices[i]
		if (v.Name != "" || v.Parking && apart || v.Charging) && len(b.Places) < maxPlaces {
			b.Places = append(b.Places, placeBody{v.ID, text(v.Name), v.X, v.Y, v.Parking, v.Charging})
		}
	}
	return b
}

func gridOf(g *roadmap.Graph) *gridBody {
	b := &gridBody{Rows: g.Rows, Cols: g.Cols, ResM: g.ResM, Cells: make([]byte, (g.Rows*g.Cols+7)/8)}
	for i := range g.Vertices {
		cell, err := strconv.Atoi(g.Vertices[i].ID)
		if err == nil && cell < g.Rows*g.Cols {
			b.Cells[cell/8] |= 1 << (cell % 8)
		}
	}
	return b
}

func netOf(g *roadmap.Graph) *netBody {
	n := len(g.Vertices)
	b := &netBody{IDs: make([]string, n), X: make([]float64, n), Y: make([]float64, n), Lanes: [][2]int32{}}
	for i := range g.Vertices {
		v := &g.Vertices[i]
		b.IDs[i], b.X[i], b.Y[i] = v.ID, v.X, v.Y
	}
	seen := make(map[[2]int32]bool, len(g.Lanes))
	for i := range g.Lanes {
		from, to := int32(g.Lanes[i].From), int32(g.Lanes[i].To)
		if !seen[[2]int32{to, from}] {
			seen[[2]int32{from, to}] = true
			b.Lanes = append(b.Lanes, [2]int32{from, to})
		}
	}
	return b
}

func boundsOf(g *roadmap.Graph) [4]float64 {
	b := [4]float64{math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)}
	for i := range g.Vertices {
		v := &g.Vertices[i]
		b[0], b[1], b[2], b[3] = min(b[0], v.X), min(b[1], v.Y), max(b[2], v.X), max(b[3], v.Y)
	}
	return b
}
