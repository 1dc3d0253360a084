package dispatch

import (
	"cmp"
	"slices"

	"starling/engine/planner"
)

// The hierarchical policy shares out robots among sectors of the floor first, a few numbers a sector, and then matches in
// each sector by itself. Rows whose sector has something better beside it choose anew. What is left over, and what is too
// little to share out, is matched as by the optimal policy.
const (
	fewestRows    = 128 // tasks or robots below which the floor is not divided
	parcels       = 400 // of rows, at most about, that are shared out
	parcelColumns = 256 // parcels of columns, the cheapest, that one of rows may get
)

// party is a row or a column of a choice that is made by sectors.
type party struct {
	row
	x, y, base float64 // base is its part of a cost, wherever the other is
	at         int32   // sector where it is
	home       int32   // of a column: sector whose rows may have it
	price      float64
	holder     int32 // of a column: row that has it, -1 = none
	number     int32 // of a column, in the choice that is being made
}

// bySector is a choice by sectors.
type bySector struct {
	*deal
	*sectors
	rows, columns []party
	pools         [][]int32 // columns by home
	fits          map[fitting]bool
	priced        [][]match // candidates of a row
	over          [][]int32 // their columns
	chosen        []int     // of a row: index of its candidate, -1 = none
}

type fitting struct {
	shelf *shelf
	bench *bench
}

// bySectors awards what it can of the rows sector by sector, and returns the rest.
func (d *deal) bySectors(rows []row) []row {
	if len(rows) < fewestRows {
		return rows
	}
	if d.divided == nil {
		d.divided = divide(d.ground.graph)
	}
	if d.divided.n < 2 {
		return rows
	}
	b := &bySector{deal: d, sectors: d.divided, fits: map[fitting]bool{}}
	rest := b.gather(rows)
	b.share()
	for a := range int32(b.n) {
		b.within(a)
	}
	for range exchangeRounds {
		cost, drive, missed := b.total()
		if !b.exchange() {
			break
		}
		if now, _, _ := b.total(); missed == 0 && cost-now < exchangeShare*drive {
			break
		}
	}
	return b.settle(rest)
}

// gather lists the rows and columns that are not for each other alone, and returns the other rows.
func (b *bySector) gather(rows []row) (rest []row) {
	for _, r := range rows {
		if r.job != nil && r.job.shelf == nil || r.worker != nil && b.pinned[r.worker.ID] != nil {
			rest = append(rest, r)
			continue
		}
		b.rows = append(b.rows, b.party(r))
	}
	if rows[0].job != nil {
		for _, x := range b.benches {
			x.index.each(func(w *worker) {
				if b.pinned[w.ID] == nil {
					b.columns = append(b.columns, b.party(row{worker: w}))
				}
			})
		}
		slices.SortFunc(b.columns, func(x, y party) int { return cmp.Compare(x.worker.ID, y.worker.ID) })
	} else {
		for _, x := range b.shelves {
			for _, j := range x.all {
				b.columns = append(b.columns, b.party(row{job: j}))
			}
		}
		slices.SortFunc(b.columns, func(x, y party) int { return compareJobs(x.job, y.job) })
	}
	b.priced, b.over, b.chosen = make([][]match, len(b.rows)), make([][]int32, len(b.rows)), make([]int, len(b.rows))
	for _, x := range b.benches {
		for _, s := range x.fits {
			b.fits[fitting{s, x}] = true
		}
	}
	return rest
}

func (b *bySector) party(r row) party {
	p := party{row: r, holder: -1, number: -1}
	if r.job != nil {
		p.x, p.y, p.base = r.job.x, r.job.y, loadedWeight*r.job.rest-bonus(b.now, &r.job.spec)
		p.at = b.of[b.zoneOf[r.job.goal]]
	} else {
		p.x, p.y, p.base = r.worker.x, r.worker.y, r.worker.worth()
		p.at = b.of[b.zoneOf[r.worker.At]]
	}
	p.home = p.at
	return p
}

// parcel is a few rows, or columns, of one sector.
type parcel struct {
	at   int32
	base float64 // mean
	all  []int32
}

// parcel divides each sector's parties, the cheapest first.
func (b *bySector) parcel(all []party, size int) []parcel {
	order := make([]int32, len(all))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(x, y int32) int {
		return cmp.Or(cmp.Compare(all[x].at, all[y].at), cmp.Compare(all[x].base, all[y].base))
	})
	var out []parcel
	for _, i := range order {
		p := &all[i]
		if n := len(out); n == 0 || out[n-1].at != p.at || len(out[n-1].all) == size {
			out = append(out, parcel{at: p.at})
		}
		last := &out[len(out)-1]
		last.all = append(last.all, i)
		last.base += (p.base - last.base) / float64(len(last.all))
	}
	return out
}

// share gives each column its home: parcels of columns go to parcels of rows at the least cost, by the middles of their
// sectors; those that nobody needs stay where they are.
func (b *bySector) share() {
	size := max(1, len(b.rows)/parcels)
	rows, columns := b.parcel(b.rows, size), b.parcel(b.columns, size)
	for i, c := range planner.Assign(b.offers(rows, columns), len(columns)) {
		if c < 0 {
			continue
		}
		for _, k := range columns[c].all {
			b.columns[k].home = rows[i].at
		}
	}
	b.pools = make([][]int32, b.n)
	for c := range b.columns {
		h := b.columns[c].home
		b.pools[h] = append(b.pools[h], int32(c))
	}
}

// offers are the parcels of columns that each of rows may get.
func (b *bySector) offers(rows, columns []parcel) [][]planner.Edge {
	edges := make([][]planner.Edge, len(rows))
	for i := range rows {
		r := &rows[i]
		if i > 0 && rows[i-1].at == r.at && len(rows[i-1].all) == len(r.all) { // the same, but for its own part of the cost
			edges[i] = edges[i-1]
			continue
		}
		all := make([]planner.Edge, len(columns))
		for c := range columns {
			k := &columns[c]
			cost := k.base
			if k.at != r.at {
				cost += away(b.x[r.at]-b.x[k.at], b.y[r.at]-b.y[k.at])
			}
			short := max(0, len(r.all)-len(k.all)) // rows that would get nothing
			all[c] = planner.Edge{Column: int32(c), Cost: cost + 10*float64(short)}
		}
		slices.SortFunc(all, func(x, y planner.Edge) int {
			return cmp.Or(cmp.Compare(x.Cost, y.Cost), cmp.Compare(x.Column, y.Column))
		})
		edges[i] = all[:min(len(all), parcelColumns)]
	}
	return edges
}
