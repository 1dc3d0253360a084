package view

import (
	"slices"
	"sync"

	"starling/engine/fleet"
)

// maxGone is how many removals a table remembers: who looks less often than that starts anew.
const maxGone = 4096

// Gone is what was removed from a table.
type Gone[K comparable] struct {
	Row       int
	ID        K
	Warehouse fleet.WarehouseID
	rev       uint64
}

// Rev is the number of the removal.
func (g *Gone[K]) Rev() uint64 { return g.rev }

// Row is one entry of a table as it was when it was read.
type Row[V any] struct {
	Row       int // its place; another entry may get it after this one is gone
	Warehouse fleet.WarehouseID
	Rev       uint64 // number of its last change
	Puts      uint64 // how often it has been written
	Born      uint64 // number of its first change
	Value     V
}

// Table is the newest state of all things of one kind of one tenant. Each has a row, and each change a number that
// rises, so that whoever looks again sees what has changed since: a look costs 8 bytes a row, and more only for what
// changed.
type Table[K comparable, V any] struct {
	keep func(dst *V, src *V) // copies, reusing what dst holds

	mu   sync.RWMutex
	rows map[K]int
	free []int
	rev  uint64
	revs []uint64 // of the last change, by row; 0 = no entry
	born []uint64 // of the first
	list []entry[K, V]
	gone []Gone[K]
	cut  uint64 // number of the newest removal that is forgotten
}

type entry[K comparable, V any] struct {
	id        K
	warehouse fleet.WarehouseID
	puts      uint64
	value     V
}

func newTable[K comparable, V any](keep func(dst, src *V)) *Table[K, V] {
	return &Table[K, V]{keep: keep, rows: map[K]int{}}
}

func (t *Table[K, V]) put(id K, w fleet.WarehouseID, v *V) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := t.rows[id]
	if ok && t.list[i].warehouse != w {
		t.remove(id, i) // it has moved: who looks at the old warehouse alone sees it go
		ok = false
	}
	t.rev++
	if !ok {
		if n := len(t.free); n > 0 {
			i, t.free = t.free[n-1], t.free[:n-1]
		} else {
			i = len(t.list)
			t.list, t.revs, t.born = append(t.list, entry[K, V]{}), append(t.revs, 0), append(t.born, 0)
		}
		t.rows[id], t.born[i] = i, t.rev
		t.list[i].id, t.list[i].puts = id, 0
	}
	e := &t.list[i]
	e.warehouse = w
	e.puts++
	t.keep(&e.value, v)
	t.revs[i] = t.rev
}

// drop removes an entry, unless another warehouse has it by now.
func (t *Table[K, V]) drop(id K, w fleet.WarehouseID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i, ok := t.rows[id]; ok && t.list[i].warehouse == w {
		t.remove(id, i)
	}
}

func (t *Table[K, V]) remove(id K, i int) {
	t.rev++
	if len(t.gone) == maxGone {
		t.cut = t.gone[maxGone/2-1].rev
		t.gone = slices.Delete(t.gone, 0, maxGone/2)
	}
	t.gone = append(t.gone, Gone[K]{Row: i, ID: id, Warehouse: t.list[i].warehouse, rev: t.rev})
	delete(t.rows, id)
	t.list[i], t.revs[i] = entry[K, V]{}, 0
	t.free = append(t.free, i)
}

// Get returns a copy of one entry.
func (t *Table[K, V]) Get(id K) (v V, puts uint64, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	i, ok := t.rows[id]
	if !ok {
		return v, 0, false
	}
	t.keep(&v, &t.list[i].value)
	return v, t.list[i].puts, true
}

// Now is the number of the newest change, and how many rows there are, empty ones included.
func (t *Table[K, V]) Now() (rev uint64, rows int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.rev, len(t.list)
}

// chunk is how many rows are looked at between two chances for writers.
const chunk = 128

// Changes calls gone for what was removed after since, then f for what changed after since, oldest row first. It
// returns the number up to which nothing was left out. ok is false where removals have been forgotten: start from
// nothing. The value that f gets is good until f returns.
func (t *Table[K, V]) Changes(since uint64, gone func(*Gone[K]), f func(*Row[V])) (upto uint64, ok bool) {
	t.mu.RLock()
	if since > 0 && since < t.cut {
		t.mu.RUnlock()
		return since, false
	}
	upto = t.rev
	var left []Gone[K]
	if since > 0 {
		i, _ := slices.BinarySearchFunc(t.gone, since+1, func(g Gone[K], n uint64) int { return cmpRev(g.rev, n) })
		left = slices.Clone(t.gone[i:])
	}
	n := len(t.list)
	t.mu.RUnlock()
	for i := range left {
		gone(&left[i])
	}
	t.scan(since, upto, 0, n, f)
	return upto, true
}

// Rows calls f for the rows from..to that were there when the table's number was upto.
func (t *Table[K, V]) Rows(upto uint64, from, to int, f func(*Row[V])) { t.scan(0, upto, from, to, f) }

func (t *Table[K, V]) scan(since, upto uint64, from, to int, f func(*Row[V])) {
	rows := make([]Row[V], chunk)
	for from < to {
		n := 0
		t.mu.RLock()
		end := min(from+chunk, to, len(t.list))
		for i := from; i < end; i++ {
			// Who has come after upto waits for the next look: its row's last owner must go first.
			if t.revs[i] <= since || t.born[i] > upto {
				continue
			}
			r, e := &rows[n], &t.list[i]
			r.Row, r.Warehouse, r.Rev, r.Puts, r.Born = i, e.warehouse, t.revs[i], e.puts, t.born[i]
			t.keep(&r.Value, &e.value)
			n++
		}
		t.mu.RUnlock()
		for i := range n {
			f(&rows[i])
		}
		from += chunk
	}
}

func cmpRev(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
