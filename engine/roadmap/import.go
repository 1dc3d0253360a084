package roadmap

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"starling/engine/fleet"
)

// MaxContent is the greatest size of a map's source in bytes.
const MaxContent = 64 << 20

// Draft is a map as read, not yet numbered into zones.
type Draft struct {
	Format   string
	ResM     float64
	Rows     int
	Cols     int
	Vertices []Vertex
	Lanes    []Lane // From, To, LengthM, SpeedMPS, Closed are set
	Areas    []Area // zones given with the map
}

// Import reads a map's source and says all that is wrong with it. resM is the edge of a grid cell in metres (formats
// movingai and lorr; 0 = 1). The draft is nil where the source could not be read at all. Never panics.
func Import(format string, content []byte, resM float64) (*Draft, Report) {
	var r notes
	var d *Draft
	switch {
	case len(content) > MaxContent:
		r.fail(CodeTooLarge, nil, nil, "the source has more than %d bytes", MaxContent)
	case math.IsNaN(resM) || resM < 0 || resM > 1000:
		r.fail(CodeNotANumber, nil, nil, "resolution_m must lie between 0 and 1000")
	case format == "movingai" || format == "lorr":
		if resM == 0 {
			resM = 1
		}
		d = importGrid(string(content), resM, &r)
	case format == "starling":
		d = importGraph(content, &r)
	default:
		r.fail(CodeUnreadable, nil, nil, "unknown format")
	}
	if d == nil {
		return nil, r.report()
	}
	d.Format = format
	inspect(d, &r)
	return d, r.report()
}

// importGrid reads MovingAI's octile text: a head of "key value" lines, "map", then rows of cells.
func importGrid(text string, resM float64, r *notes) *Draft {
	lines := strings.Split(strings.ReplaceAll(text, "\r", ""), "\n")
	rows, cols, at := 0, 0, -1
	for i, line := range lines[:min(len(lines), 16)] {
		f := strings.Fields(line)
		if len(f) == 1 && f[0] == "map" {
			at = i + 1
			break
		}
		if len(f) != 2 {
			continue
		}
		n, err := strconv.Atoi(f[1])
		switch f[0] {
		case "height":
			rows = n
		case "width":
			cols = n
		default:
			err = nil
		}
		if err != nil {
			r.fail(CodeUnreadable, nil, nil, "line %d: %s is not a number", i+1, f[0])
			return nil
		}
	}
	if at < 0 || rows < 1 || cols < 1 || rows > maxVertices || cols > maxVertices || rows*cols > maxVertices {
		r.fail(CodeUnreadable, nil, nil, "want a head with height, width (together at most %d cells) and map", maxVertices)
		return nil
	}
	if len(lines)-at < rows {
		r.fail(CodeUnreadable, nil, nil, "want %d rows, found %d", rows, len(lines)-at)
		return nil
	}
	d := &Draft{ResM: resM, Rows: rows, Cols: cols}
	index := make([]int32, rows*cols)
	for row := range rows {
		line := lines[at+row]
		if len(line) != cols {
			r.fail(CodeUnreadable, nil, nil, "row %d has %d cells, want %d", row, len(line), cols)
			return nil
		}
		for col := range cols {
			cell := row*cols + col
			index[cell] = -1
			if strings.IndexByte("@TOW", line[col]) >= 0 {
				continue
			}
			index[cell] = int32(len(d.Vertices))
			d.Vertices = append(d.Vertices, Vertex{
				ID: strconv.Itoa(cell), X: (float64(col) + 0.5) * resM, Y: (float64(rows-row) - 0.5) * resM, Parking: true,
			})
		}
	}
	d.gridLanes(index)
	return d
}

// gridLanes joins each free cell with its free 4-neighbours, both ways, east, north, west, south.
func (d *Draft) gridLanes(index []int32) {
	for cell, v := range index {
		if v < 0 {
			continue
		}
		row, col := cell/d.Cols, cell%d.Cols
		for _, n := range [4][2]int{{row, col + 1}, {row - 1, col}, {row, col - 1}, {row + 1, col}} {
			if n[0] < 0 || n[0] >= d.Rows || n[1] < 0 || n[1] >= d.Cols {
				continue
			}
			if w := index[n[0]*d.Cols+n[1]]; w >= 0 {
				d.Lanes = append(d.Lanes, Lane{From: fleet.Vertex(v), To: fleet.Vertex(w), LengthM: d.ResM})
			}
		}
	}
}

func importGraph(content []byte, r *notes) *Draft {
	src, ok := readSource(content, r)
	if !ok {
		return nil
	}
	d := &Draft{}
	ids := d.addVertices(src, r)
	for i, l := range src.Lanes {
		from, okF := ids[l.From]
		to, okT := ids[l.To]
		if !okF || !okT {
			r.fail(CodeUnknownVertex, nil, nil, "lanes[%d] names a vertex that is not there", i)
			continue
		}
		lane := Lane{From: from, To: to, LengthM: l.LengthM, SpeedMPS: l.SpeedMPS, Closed: l.Closed}
		d.addLane(i, lane, r)
		if l.Bidirectional {
			lane.From, lane.To = to, from
			d.addLane(i, lane, r)
		}
	}
	d.checkDuplicates(r)
	d.checkDegrees(r)
	d.addAreas(src, r)
	d.checkAreas(r)
	return d
}

// addAreas takes the zones that can be taken.
func (d *Draft) addAreas(src *source, r *notes) {
	corners := 0
	for i, z := range src.Zones {
		p, err := ParsePolygon(z.Polygon)
		if err != nil {
			r.fail(CodeZoneGeometry, nil, nil, "zones[%d].polygon: %s", i, err)
			continue
		}
		if corners += len(p); corners > maxCorners {
			r.fail(CodeTooLarge, nil, nil, "the polygons up to zones[%d] have more than %d points together", i, maxCorners)
			d.Areas = nil
			return
		}
		if err := p.Check(); err != nil {
			r.fail(CodeZoneGeometry, nil, nil, "zones[%d].polygon: %s", i, err)
		}
		id := z.ID
		if len(id) == uuidLen {
			id = strings.ToLower(id)
		}
		switch {
		case len(id) == uuidLen && !isUUID(id):
			r.fail(CodeBadID, nil, nil, "zones[%d].id has the length of a UUID and is none", i)
		case len(id) > 128 || utf8.RuneCountInString(z.Name) > 200:
			r.fail(CodeBadID, nil, nil, "zones[%d]: id wants at most 128 bytes, name at most 200 characters", i)
		}
		d.Areas = append(d.Areas, Area{ID: fleet.ZoneID(id), Name: z.Name, Polygon: p, at: i})
	}
}

// addVertices takes the vertices that can be taken, and returns them by their id.
func (d *Draft) addVertices(src *source, r *notes) map[string]fleet.Vertex {
	ids := map[string]fleet.Vertex{}
	for i, v := range src.Vertices {
		switch _, dup := ids[v.ID]; {
		case v.ID == "" || len(v.ID) > 128 || len(v.Name) > 128:
			r.fail(CodeUnreadable, nil, nil, "vertices[%d]: id wants 1..128 characters, name at most 128", i)
			continue
		case dup:
			r.fail(CodeDuplicateID, []string{v.ID}, nil, "vertex id appears more than once")
			continue
		case v.X == nil || v.Y == nil || !finite(*v.X) || !finite(*v.Y):
			r.fail(CodeNotANumber, []string{v.ID}, nil, "vertices[%d]: x and y are needed, within ±1e6 m", i)
			continue
		}
		ids[v.ID] = fleet.Vertex(len(d.Vertices))
		d.Vertices = append(d.Vertices, Vertex{ID: v.ID, Name: v.Name, X: *v.X, Y: *v.Y, Parking: v.Parking, Charging: v.Charging})
	}
	names := map[string]bool{}
	for i := range d.Vertices {
		if n := d.Vertices[i].Name; n != "" {
			if names[n] {
				r.fail(CodeDuplicateID, []string{d.Vertices[i].ID}, nil, "vertex name appears more than once")
			}
			names[n] = true
		}
	}
	return ids
}

func (d *Draft) addLane(i int, l Lane, r *notes) {
	a, b := &d.Vertices[l.From], &d.Vertices[l.To]
	straight := math.Hypot(a.X-b.X, a.Y-b.Y)
	both := []string{a.ID, b.ID}
	switch {
	case l.From == l.To:
		r.fail(CodeSelfLoop, both[:1], nil, "lanes[%d] leads back to its own vertex", i)
		return
	case !finite(l.LengthM) || l.LengthM < 0 || !finite(l.SpeedMPS) || l.SpeedMPS < 0 || l.SpeedMPS > 100:
		r.fail(CodeNotANumber, both, nil, "lanes[%d]: length_m and speed_limit_mps must be sensible numbers", i)
		return
	case straight == 0:
		r.fail(CodeZeroLength, both, nil, "lanes[%d] joins two vertices at the same place", i)
		return
	case l.LengthM == 0:
		l.LengthM = straight
	case l.LengthM*lengthToleranceFactor < straight:
		r.fail(CodeWrongLength, both, nil, "lanes[%d] is said to be shorter than the straight line", i)
	}
	d.Lanes = append(d.Lanes, l)
}

func (d *Draft) checkDuplicates(r *notes) {
	seen := make(map[[2]fleet.Vertex]bool, len(d.Lanes))
	kept := d.Lanes[:0]
	for _, l := range d.Lanes {
		key := [2]fleet.Vertex{l.From, l.To}
		if seen[key] {
			r.fail(CodeDuplicateLane, []string{d.Vertices[l.From].ID, d.Vertices[l.To].ID}, nil, "two lanes join the same vertices in the same direction")
			continue
		}
		seen[key] = true
		kept = append(kept, l)
	}
	d.Lanes = kept
}

func finite(x float64) bool { return !math.IsNaN(x) && math.Abs(x) <= 1e6 }
