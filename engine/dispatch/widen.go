package dispatch

import (
	"math"
	"slices"
)

// The nearest sixteen are not always enough: where tasks and robots are about as many, the last ones to be matched have
// far to go. The prices of a choice tell which other pairs would make it better; looking at all of them is cheap as long
// as there are not too many.
const (
	widenings  = 6         // rounds
	widenPairs = 3_000_000 // pairs that a round looks at, at most
	widenBy    = 6         // new candidates of a row in a round
	widenGain  = 0.01      // seconds below which a pair is no better
)

// column is who may be matched with a row, as far as that does not depend on the row.
type column[T any] struct {
	x, y float64
	base float64 // its part of the cost, less its price
	item *T
}

// better is a column that would improve the choice, and what it costs the row, less its price.
type better[T any] struct {
	cost float64
	item *T
}

// widen gives rows the candidates by which the choice would become better; false where there are none, or too many pairs
// to look at.
func (d *deal) widen(rows []row, priced [][]match, chosen []int) bool {
	if len(rows) == 0 || len(rows)*max(d.jobs, d.workers) > widenPairs {
		return false
	}
	limits := make([]float64, len(rows)) // what a row's pair costs now, less the price
	for i, k := range chosen {
		limits[i] = math.Inf(1)
		if k >= 0 {
			m := &priced[i][k]
			limits[i] = m.cost.Total - m.column(rows[i]).price
		}
	}
	if rows[0].worker != nil {
		return d.widenWorkers(rows, priced, limits)
	}
	return d.widenJobs(rows, priced, limits)
}

func (d *deal) widenJobs(rows []row, priced [][]match, limits []float64) bool {
	columns := map[*bench][]column[worker]{}
	wider := false
	for i, r := range rows {
		if r.job.shelf == nil { // for one robot alone
			continue
		}
		own := loadedWeight*r.job.rest - bonus(d.now, &r.job.spec)
		var top []better[worker]
		for _, b := range r.job.shelf.fits {
			cs, known := columns[b]
			if !known {
				b.index.each(func(w *worker) {
					cs = append(cs, column[worker]{w.x, w.y, w.worth() - d.priceOf(&w.mark), w})
				})
				columns[b] = cs
			}
			top = betterOnes(cs, r.job.x, r.job.y, limits[i]-own, top)
		}
		for _, t := range top {
			if has(priced[i], r.job, t.item) {
				continue
			}
			n := len(priced[i])
			priced[i] = d.offer(r.job, t.item, priced[i])
			wider = wider || len(priced[i]) > n
		}
	}
	return wider
}

func (d *deal) widenWorkers(rows []row, priced [][]match, limits []float64) bool {
	columns := map[*shelf][]column[job]{}
	wider := false
	for i, r := range rows {
		own := r.worker.worth()
		var top []better[job]
		for _, s := range r.worker.bench.fits {
			cs, known := columns[s]
			if !known {
				for _, j := range s.all {
					cs = append(cs, column[job]{j.x, j.y, loadedWeight*j.rest - bonus(d.now, &j.spec) - d.priceOf(&j.mark), j})
				}
				columns[s] = cs
			}
			top = betterOnes(cs, r.worker.x, r.worker.y, limits[i]-own, top)
		}
		for _, t := range top {
			if has(priced[i], t.item, r.worker) {
				continue
			}
			n := len(priced[i])
			priced[i] = d.offer(t.item, r.worker, priced[i])
			wider = wider || len(priced[i]) > n
		}
	}
	return wider
}

// priceOf is the price of a column in the last choice; one that nobody looked at has none.
func (d *deal) priceOf(m *mark) float64 {
	if m.stamp != d.stamp {
		return 0
	}
	return m.price
}

// betterOnes adds the columns to top that cost a row at (x, y) least, below limit; best first, at most widenBy.
func betterOnes[T any](cs []column[T], x, y, limit float64, top []better[T]) []better[T] {
	if len(top) == widenBy {
		limit = top[widenBy-1].cost
	}
	limit -= widenGain
	for i := range cs {
		c := &cs[i]
		cost := math.Abs(c.x-x) + math.Abs(c.y-y) + c.base
		if cost >= limit {
			continue
		}
		if len(top) == widenBy {
			top = top[:widenBy-1]
		}
		at, _ := slices.BinarySearchFunc(top, cost, func(b better[T], cost float64) int {
			if b.cost < cost {
				return -1
			}
			return 1
		})
		if top = slices.Insert(top, at, better[T]{cost, c.item}); len(top) == widenBy {
			limit = top[widenBy-1].cost
		}
	}
	return top
}

// has says that the pair is among the candidates.
func has(ms []match, j *job, w *worker) bool {
	return slices.ContainsFunc(ms, func(m match) bool { return m.job == j && m.worker == w })
}
