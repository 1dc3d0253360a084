package history

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

// The bounds of what is kept of one thing.
const (
	leastKept = 2
	mostKept  = 1800
	parts     = 32 // of the table, each with a lock
)

// recent keeps the last values of many things within one bound: each thing's ring doubles while there is room, and keeps
// its newest from then on. A newcomer takes half of a large ring. Where all are small the thing that has said nothing for
// longest gives its ring to it: that costs no memory either.
type recent[K comparable, V any] struct {
	at    func(*V) time.Time
	parts [parts]part[K, V]
	seed  maphash.Seed
}

type part[K comparable, V any] struct {
	mu    sync.Mutex
	rings map[K]*ring[V]
	size  int // of all rings
	most  int
}

type ring[V any] struct {
	items   []V
	head, n int
}

func newRecent[K comparable, V any](most int, at func(*V) time.Time) *recent[K, V] {
	r := &recent[K, V]{at: at, seed: maphash.MakeSeed()}
	for i := range r.parts {
		r.parts[i] = part[K, V]{rings: map[K]*ring[V]{}, most: max(leastKept, most/parts)}
	}
	return r
}

// put has fill write the newest value of a thing; a repeat of the last is not kept.
func (r *recent[K, V]) put(key K, fill func(*V)) {
	p := &r.parts[maphash.Comparable(r.seed, key)%parts]
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.rings[key]
	if q == nil {
		q = p.admit(r.at)
		p.rings[key] = q
	}
	if q.n == len(q.items) && q.n < mostKept {
		if more := min(q.n, mostKept-q.n); p.size+more <= p.most {
			p.resize(q, q.n+more)
		}
	}
	i := (q.head + q.n) % len(q.items)
	if q.n == len(q.items) {
		q.head = (q.head + 1) % len(q.items)
	} else {
		q.n++
	}
	fill(&q.items[i])
	if q.n < 2 {
		return
	}
	before := &q.items[(i+len(q.items)-1)%len(q.items)]
	if r.at(&q.items[i]).Equal(r.at(before)) { // a repeat: the later one holds, as in the store
		*before = q.items[i]
		q.n--
	}
}

// resize gives a ring another length and leaves its newest in it.
func (p *part[K, V]) resize(q *ring[V], length int) {
	items := make([]V, length)
	keep := min(q.n, length)
	for i := range keep {
		items[i] = q.items[(q.head+q.n-keep+i)%len(q.items)]
	}
	p.size += length - len(q.items)
	q.items, q.head, q.n = items, 0, keep
}

// admit makes room for a newcomer, in a few of the others at most. p.mu is held.
func (p *part[K, V]) admit(at func(*V) time.Time) *ring[V] {
	if p.size+leastKept > p.most {
		victim, largest := p.choose(at)
		if len(largest.items) < 2*leastKept {
			q := p.rings[victim]
			delete(p.rings, victim)
			q.head, q.n = 0, 0
			return q
		}
		p.resize(largest, len(largest.items)-max(leastKept, len(largest.items)/2))
	}
	p.size += leastKept
	return &ring[V]{items: make([]V, leastKept)}
}

// choose finds the thing that has said nothing for longest, and the largest ring, of a few. p.mu is held.
func (p *part[K, V]) choose(at func(*V) time.Time) (victim K, largest *ring[V]) {
	var oldest time.Time
	looked := 0
	for k, q := range p.rings { // any few will do
		last := at(&q.items[(q.head+max(q.n, 1)-1)%len(q.items)])
		if looked == 0 || last.Before(oldest) {
			victim, oldest = k, last
		}
		if largest == nil || len(q.items) > len(largest.items) {
			largest = q
		}
		if looked++; looked == 16 {
			break
		}
	}
	return victim, largest
}

// read copies what is kept of a thing, the oldest first.
func (r *recent[K, V]) read(key K) []V {
	p := &r.parts[maphash.Comparable(r.seed, key)%parts]
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.rings[key]
	if q == nil {
		return nil
	}
	end := min(q.head+q.n, len(q.items))
	all := slices.Concat(q.items[q.head:end], q.items[:q.n-(end-q.head)])
	before := func(a, b V) int { return r.at(&a).Compare(r.at(&b)) }
	if !slices.IsSortedFunc(all, before) { // a clock was set back
		slices.SortStableFunc(all, before)
	}
	return all
}
