package dispatch

import (
	"cmp"
	"math"
	"slices"

	"starling/engine/planner"
)

// How far a row looks within its sector and beyond: what that costs and brings is in docs/adr/0010.
const (
	poolNearest    = 12   // candidates of a row in its sector at first
	withinRounds   = 1    // in which rows get more of them
	exchangeRounds = 3    // in which they get some from sectors beside theirs
	exchangeBy     = 4    // candidates that a row gets in a round
	exchangeGain   = 2.0  // seconds by which they must be better
	exchangeShare  = 0.02 // of what is driven, below which the last round's gain was not worth another
)

// within matches the rows of a sector with the columns that are at home there: the nearest, then those too by which the
// choice becomes better.
func (b *bySector) within(a int32) {
	var rows []int32
	pools := b.pools[a : a+1]
	for i := range b.rows {
		if b.rows[i].at == a {
			rows = append(rows, int32(i))
			b.chosen[i] = -1
			b.consider(int32(i), pools, look{most: poolNearest, near: true})
		}
	}
	b.match(rows)
	for range withinRounds {
		wider := false
		for _, i := range rows {
			before := len(b.over[i])
			b.consider(i, pools, look{most: exchangeBy})
			wider = wider || len(b.over[i]) > before
		}
		if !wider {
			return
		}
		b.release(rows)
		b.match(rows)
	}
}

// release takes from rows what they have.
func (b *bySector) release(rows []int32) {
	for _, i := range rows {
		if k := b.chosen[i]; k >= 0 {
			b.columns[b.over[i][k]].holder, b.chosen[i] = -1, -1
		}
	}
}

// total is the cost of what is chosen, what of it depends on who gets what, and how many rows have nothing.
func (b *bySector) total() (cost, drive float64, missed int) {
	for i, k := range b.chosen {
		if k < 0 {
			missed++
			continue
		}
		cost += b.priced[i][k].cost.Total
		drive += b.priced[i][k].cost.Total - b.rows[i].base - b.columns[b.over[i][k]].base
	}
	return cost, drive, missed
}

// exchange lets rows have columns of sectors beside theirs where that is much better by the prices so far: those rows, and
// those that have such columns, choose anew among what they and nobody else have. So it is never worse than before; false
// where there is nothing to gain.
func (b *bySector) exchange() bool {
	again := make([]bool, len(b.rows))
	var pools [][]int32
	for i := range b.rows {
		pools = pools[:0]
		for _, a := range b.adjacent[b.rows[i].at] {
			pools = append(pools, b.pools[a])
		}
		before := len(b.over[i])
		b.consider(int32(i), pools, look{most: exchangeBy, gain: exchangeGain})
		for _, c := range b.over[i][before:] {
			again[i] = true
			if h := b.columns[c].holder; h >= 0 {
				again[h] = true
			}
		}
	}
	var rows []int32
	for i := range again {
		if again[i] {
			rows = append(rows, int32(i))
		}
	}
	b.release(rows)
	b.match(rows)
	return len(rows) > 0
}

// look says which columns a row considers.
type look struct {
	most int     // columns
	gain float64 // by which they must be better
	near bool    // the nearest, whatever they cost
}

// consider gives a row the columns of the pools that are better than what it has.
func (b *bySector) consider(i int32, pools [][]int32, l look) {
	r := &b.rows[i]
	limit := math.Inf(1)
	if k := b.chosen[i]; k >= 0 {
		limit = b.priced[i][k].cost.Total - b.columns[b.over[i][k]].price - r.base - l.gain - widenGain
	}
	top := make([]better[int32], 0, l.most)
	for _, pool := range pools {
		for n := range pool {
			k := &b.columns[pool[n]]
			cost := math.Abs(k.x-r.x) + math.Abs(k.y-r.y)
			if !l.near {
				cost += k.base - k.price
			}
			if cost >= limit || !b.fit(r, k) {
				continue
			}
			if len(top) == l.most {
				top = top[:l.most-1]
			}
			at := len(top)
			for at > 0 && top[at-1].cost > cost {
				at--
			}
			if top = slices.Insert(top, at, better[int32]{cost, &pool[n]}); len(top) == l.most {
				limit = min(limit, top[l.most-1].cost)
			}
		}
	}
	for _, t := range top {
		if slices.Contains(b.over[i], *t.item) {
			continue
		}
		j, w := cmp.Or(r.job, b.columns[*t.item].job), cmp.Or(r.worker, b.columns[*t.item].worker)
		if !b.possible(j, w) {
			continue
		}
		n := len(b.priced[i])
		if b.priced[i] = b.offer(j, w, b.priced[i]); len(b.priced[i]) > n {
			b.over[i] = append(b.over[i], *t.item)
		}
	}
}

// fit says that the two may be matched as to what the task asks for.
func (b *bySector) fit(x, y *party) bool {
	j, w := cmp.Or(x.job, y.job), cmp.Or(x.worker, y.worker)
	return b.fits[fitting{j.shelf, w.bench}]
}

// match chooses for the rows, none of which has a column, among the columns that no other row has.
func (b *bySector) match(rows []int32) {
	edges := make([][]planner.Edge, len(rows))
	var numbered []int32
	for n, i := range rows {
		for k, c := range b.over[i] {
			p := &b.columns[c]
			if p.holder >= 0 { // a row has it that stays as it is
				continue
			}
			if p.number < 0 {
				p.number = int32(len(numbered))
				numbered = append(numbered, c)
			}
			edges[n] = append(edges[n], planner.Edge{Column: p.number, Cost: b.priced[i][k].cost.Total})
		}
	}
	taken, prices := planner.AssignPriced(edges, len(numbered))
	for n, c := range numbered {
		b.columns[c].number, b.columns[c].price = -1, prices[n]
	}
	for n, t := range taken {
		if t >= 0 {
			c, i := numbered[t], rows[n]
			b.columns[c].holder, b.chosen[i] = i, slices.Index(b.over[i], c)
		}
	}
}

// settle awards what was chosen, and adds the rows that got nothing to rest.
func (b *bySector) settle(rest []row) []row {
	rows := make([]row, len(b.rows))
	for i := range b.rows {
		rows[i] = b.rows[i].row
	}
	return append(rest, b.take(rows, b.priced, b.chosen)...)
}
