package roadmap

import (
	"fmt"
	"math"
	"slices"
)

// Report is what is wrong with a map. Errors forbid activation, warnings do not. Of each code at most maxPerCode findings
// are listed on a side; where there are more, a last one of that code says how many.
type Report struct {
	Errors   []Finding
	Warnings []Finding
}

// Finding is one fault, or one kind of harmless oddity. Ids are capped at maxFindingIDs; the message has the total.
type Finding struct {
	Code      string
	VertexIDs []string
	LaneIDs   []string
	Message   string
}

// The codes of findings.
const (
	CodeUnreadable        = "unreadable"
	CodeTooLarge          = "too_large"
	CodeNoVertices        = "no_vertices"
	CodeDuplicateID       = "duplicate_id"
	CodeBadID             = "bad_id"
	CodeUnknownVertex     = "unknown_vertex"
	CodeSelfLoop          = "self_loop"
	CodeZeroLength        = "zero_length_lane"
	CodeWrongLength       = "wrong_length_lane"
	CodeDuplicateLane     = "duplicate_lane"
	CodeNotANumber        = "not_a_number"
	CodeUnreachable       = "unreachable_vertex"
	CodeOneWayTrap        = "one_way_trap"
	CodeDeadEnd           = "dead_end"
	CodeTooFar            = "too_far"
	CodeTooClose          = "too_close"
	CodeCrossing          = "crossing_lanes"
	CodeZoneOverlap       = "zone_overlap"
	CodeZoneGeometry      = "zone_geometry"
	maxFindingIDs         = 100
	maxPerCode            = 100
	maxVertices           = 1_000_000
	lengthToleranceFactor = 1.05
)

// OK says that the map may be activated.
func (r *Report) OK() bool { return len(r.Errors) == 0 }

// notes gathers the findings of an import.
type notes struct{ errors, warnings side }

type side struct {
	list  []Finding
	count map[string]int // by code, those not listed too
}

func (n *notes) fail(code string, vertices, lanes []string, format string, args ...any) {
	n.errors.add(code, vertices, lanes, format, args...)
}

func (n *notes) warn(code string, vertices, lanes []string, format string, args ...any) {
	n.warnings.add(code, vertices, lanes, format, args...)
}

func (n *notes) report() Report {
	return Report{Errors: n.errors.close(), Warnings: n.warnings.close()}
}

func (s *side) add(code string, vertices, lanes []string, format string, args ...any) {
	if s.count == nil {
		s.count = map[string]int{}
	}
	if s.count[code]++; s.count[code] <= maxPerCode {
		s.list = append(s.list, finding(code, vertices, lanes, format, args...))
	}
}

// close returns what is listed, and after it how many there were of each code that has more.
func (s *side) close() []Finding {
	all := s.list
	for i := range s.list {
		code := s.list[i].Code
		if more := s.count[code] - maxPerCode; more > 0 {
			all = append(all, finding(code, nil, nil, "%d more of this kind, %d in all", more, s.count[code]))
			s.count[code] = 0
		}
	}
	return all
}

func finding(code string, vertices, lanes []string, format string, args ...any) Finding {
	return Finding{
		Code: code, VertexIDs: slices.Clone(vertices[:min(len(vertices), maxFindingIDs)]),
		LaneIDs: slices.Clone(lanes[:min(len(lanes), maxFindingIDs)]), Message: fmt.Sprintf(format, args...),
	}
}

// inspect looks at the shape of the road network: what cannot be reached, what cannot be left, what is a dead end.
func inspect(d *Draft, r *notes) {
	n := len(d.Vertices)
	if n == 0 {
		r.fail(CodeNoVertices, nil, nil, "the map has no free vertex")
		return
	}
	out, in := adjacency(d)
	home := largest(out)
	reach, back := flood(out, home), flood(in, home)
	d.checkExtent(home, r)
	d.checkClearance(r)
	var unreachable, traps, ends []string
	for v := range n {
		id := d.Vertices[v].ID
		switch {
		case !reach[v]:
			unreachable = append(unreachable, id)
		case !back[v]:
			traps = append(traps, id)
		case len(out[v]) == 1 && len(in[v]) <= 1:
			ends = append(ends, id)
		}
	}
	report := r.fail
	if d.Rows > 0 && len(unreachable)*2 < n {
		report = r.warn // pockets of a grid are obstacles in effect
	}
	if len(unreachable) > 0 {
		report(CodeUnreachable, unreachable, nil, "%d vertices cannot be reached from the main part of the map", len(unreachable))
	}
	if len(traps) > 0 {
		r.fail(CodeOneWayTrap, traps, nil, "%d vertices can be entered but never left towards the main part of the map", len(traps))
	}
	if len(ends) > 0 {
		r.warn(CodeDeadEnd, ends, nil, "%d dead ends: two robots that meet there need one of them to back out", len(ends))
	}
}

func adjacency(d *Draft) (out, in [][]int32) {
	out, in = make([][]int32, len(d.Vertices)), make([][]int32, len(d.Vertices))
	for i := range d.Lanes {
		l := &d.Lanes[i]
		out[l.From] = append(out[l.From], int32(l.To))
		in[l.To] = append(in[l.To], int32(l.From))
	}
	return out, in
}

// largest returns a vertex of the largest strongly connected part. O(vertices + lanes). Source: Tarjan 1972, with a
// stack of its own, since a road may be a million vertices long.
func largest(out [][]int32) int {
	const done = math.MaxInt32
	n := len(out)
	num, low := make([]int32, n), make([]int32, n) // order of discovery from 1 on; the earliest that is reached from here
	next := make([]int32, n)                       // the next lane to look at
	var path, open []int32                         // the way to here; discovered, and of no known part yet
	seen, best, size := int32(0), 0, 0
	for root := range n {
		if num[root] != 0 {
			continue
		}
		path = append(path, int32(root))
		for len(path) > 0 {
			v := path[len(path)-1]
			if num[v] == 0 {
				seen++
				num[v], low[v] = seen, seen
				open = append(open, v)
			}
			if int(next[v]) < len(out[v]) {
				w := out[v][next[v]]
				next[v]++
				if num[w] == 0 {
					path = append(path, w)
				} else {
					low[v] = min(low[v], num[w]) // of a known part it is done: greater than any
				}
				continue
			}
			path = path[:len(path)-1]
			if len(path) > 0 {
				u := path[len(path)-1]
				low[u] = min(low[u], low[v])
			}
			if low[v] != num[v] {
				continue
			}
			at := len(open) - 1 // v and what was discovered after it and is still open are one part
			for ; ; at-- {
				num[open[at]] = done
				if open[at] == v {
					break
				}
			}
			if len(open)-at > size {
				best, size = int(v), len(open)-at
			}
			open = open[:at]
		}
	}
	return best
}

func flood(next [][]int32, from int) []bool {
	seen := make([]bool, len(next))
	seen[from] = true
	for queue := []int32{int32(from)}; len(queue) > 0; {
		v := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, w := range next[v] {
			if !seen[w] {
				seen[w] = true
				queue = append(queue, w)
			}
		}
	}
	return seen
}
