// Package jams plays three jams and a calm floor in virtual time, with robots that drive as in life, and compares what becomes of
// them with and without what the engine does against congestion.
//
// Size: a run of 30 minutes with 150 robots takes some 7 s of a core, with 220 that are jammed 25 s.
package jams

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"starling/bench/density"
)

// Scenario is one floor with its tasks and mishaps. All of it follows from a seed.
type Scenario struct {
	Name, About string
	Map         []byte
	Robots      int
	Seconds     int
	tasks       func(s *Scenario, rng *rand.Rand) []order
	// blocked are cells on which a robot each breaks down, and when; nil = none.
	blocked []mishap
}

// order is a task that comes at a time.
type order struct {
	at       time.Duration
	cells    []int
	priority uint8
}

// mishap is a robot that breaks down on a cell.
type mishap struct {
	cell     int
	from, to time.Duration
}

// The floor of shelves: 44 rows of 76 cells, aisles one cell wide between shelves two deep, cross aisles two wide.
const rows, cols = 44, 76

// Scenarios are the three jams and the calm floor that acting is judged by.
func Scenarios() []Scenario {
	return []Scenario{wave(), blockedAisle(), overFull(), calm()}
}

// wave is a quiet floor on which a wave of orders goes to the stations of one side.
func wave() Scenario {
	return Scenario{
		Name: "wave to one side", About: "ten minutes of orders four times as many as before, four of five to the stations on the east side",
		Map: density.Warehouse(rows, cols), Robots: 150, Seconds: 1800,
		tasks: func(s *Scenario, rng *rand.Rand) []order {
			free := cellsOf(s.Map)
			east := stations(s.Map, cols-2)
			out := arrivals(rng, s, 0, 1500*time.Second, 0.5, func() []int { return []int{pick(rng, free), pick(rng, free)} })
			return append(out, arrivals(rng, s, 2*time.Minute, 12*time.Minute, 1.5, func() []int { return []int{pick(rng, free), pick(rng, east)} })...)
		},
	}
}

// blockedAisle is a floor of two halves between which two of three gates are blocked by robots that have broken down.
func blockedAisle() Scenario {
	m, gates := halves()
	s := Scenario{
		Name: "blocked aisle", About: "two halves joined by three gates; robots break down in two of them for fifteen minutes",
		Map: m, Robots: 120, Seconds: 1200,
		tasks: func(s *Scenario, rng *rand.Rand) []order {
			west, east := sides(s.Map)
			return arrivals(rng, s, 0, time.Duration(s.Seconds)*time.Second, 1.1, func() []int {
				if rng.Float64() < 0.5 {
					west, east = east, west
				}
				if rng.Float64() < 0.25 {
					return []int{pick(rng, west), pick(rng, east)}
				}
				return []int{pick(rng, west), pick(rng, west)}
			})
		},
	}
	for _, g := range gates[:2] {
		s.blocked = append(s.blocked, mishap{g, 3 * time.Minute, 18 * time.Minute})
	}
	return s
}

// overFull is a floor with more robots with tasks than its flow takes: most orders lead along one aisle.
func overFull() Scenario {
	return Scenario{
		Name: "over-full floor", About: "robots on a quarter of the floor, orders for all of them at any time, most to one aisle",
		Map: density.Warehouse(smallRows, smallCols), Robots: 220, Seconds: 1800,
		tasks: func(s *Scenario, rng *rand.Rand) []order {
			free := cellsOf(s.Map)
			aisle := slices.DeleteFunc(slices.Clone(free), func(c int) bool { return c%smallCols != 24 && c%smallCols != 25 })
			return arrivals(rng, s, 0, time.Duration(s.Seconds)*time.Second, 2, func() []int {
				if rng.Float64() < 0.8 {
					return []int{pick(rng, free), pick(rng, aisle)}
				}
				return []int{pick(rng, free), pick(rng, free)}
			})
		},
	}
}

// smallRows and smallCols are of a floor of half the size.
const smallRows, smallCols = 29, 52

// calmName is that of the floor on which acting must not do harm.
const calmName = "calm floor"

// calm is what the floor is for.
func calm() Scenario {
	return Scenario{
		Name: calmName, About: "orders that the robots serve at leisure",
		Map: density.Warehouse(rows, cols), Robots: 150, Seconds: 1800,
		tasks: func(s *Scenario, rng *rand.Rand) []order {
			free := cellsOf(s.Map)
			return arrivals(rng, s, 0, 1800*time.Second, 0.8, func() []int { return []int{pick(rng, free), pick(rng, free)} })
		},
	}
}

// arrivals are orders that come one after another, so many a second, at random (a Poisson process).
func arrivals(rng *rand.Rand, _ *Scenario, from, to time.Duration, rate float64, cells func() []int) []order {
	var out []order
	for t := from; ; {
		t += time.Duration(rng.ExpFloat64() / rate * float64(time.Second))
		if t >= to {
			return out
		}
		out = append(out, order{at: t, cells: cells()})
	}
}

func pick(rng *rand.Rand, from []int) int { return from[rng.IntN(len(from))] }

func byTime(a, b order) int { return cmp.Compare(a.at, b.at) }

// sorted puts orders in the order of their times.
func sorted(o []order) []order {
	slices.SortStableFunc(o, byTime)
	return o
}

// cellsOf lists the free cells of a map that is known to be one.
func cellsOf(m []byte) []int {
	cells, err := density.Free(m)
	if err != nil {
		return nil
	}
	return cells
}

// stations are every other free cell of a column.
func stations(m []byte, col int) []int {
	var out []int
	for _, c := range cellsOf(m) {
		if c%cols == col && c/cols%2 == 0 {
			out = append(out, c)
		}
	}
	return out
}

// sides are the free cells west and east of the wall.
func sides(m []byte) (west, east []int) {
	for _, c := range cellsOf(m) {
		switch {
		case c%gateCols < wall:
			west = append(west, c)
		case c%gateCols > wall:
			east = append(east, c)
		}
	}
	return west, east
}

// wall is the column that parts the halves, of so many columns.
const wall, gateCols = 38, 77

// halves are two floors of shelves with a wall between them; the gates through it are two cells wide.
func halves() (floor []byte, gates []int) {
	_, body, _ := strings.Cut(string(density.Warehouse(rows, wall)), "\nmap\n")
	open := []int{4, 40}
	var b strings.Builder
	fmt.Fprintf(&b, "type octile\nheight %d\nwidth %d\nmap\n", rows, gateCols)
	for r, row := range strings.Split(strings.TrimRight(body, "\n"), "\n") {
		between := "@"
		if slices.Contains(open, r) || slices.Contains(open, r-1) {
			between = "."
			gates = append(gates, r*gateCols+wall)
		}
		b.WriteString(row + between + row + "\n")
	}
	return []byte(b.String()), gates
}
