package history

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

// The bounds of what is kept of one thing.
const (
	leastKept = 8
	mostKept  = 1800
	parts     = 32 // of the table, each with a lock
)

// recent keeps the last values of many things within one bound: each thing's ring doubles while there is room, and keeps
// its newest from then on. Things that have said nothing for longest go first where even the smallest rings do not fit.
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
		for p.size+leastKept > p.most && p.forget(r.at) {
		}
		q = &ring[V]{items: make([]V, leastKept)}
		p.rings[key] = q
		p.size += leastKept
	}
	if q.n == len(q.items) && q.n < mostKept {
		if more := min(q.n, mostKept-q.n); p.size+more <= p.most {
			items := make([]V, q.n+more)
			copy(items[copy(items, q.items[q.head:]):], q.items[:q.head])
			q.items, q.head = items, 0
			p.size += more
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
	if r.at(&q.items[i]).Equal(r.at(before)) { // a repeat
		q.n--
	}
}

// forget gives up the thing that has said nothing for longest, of a few. p.mu is held.
func (p *part[K, V]) forget(at func(*V) time.Time) bool {
	var victim K
	var oldest time.Time
	looked := 0
	for k, q := range p.rings { // any few will do
		last := at(&q.items[(q.head+max(q.n, 1)-1)%len(q.items)])
		if looked == 0 || last.Before(oldest) {
			victim, oldest = k, last
		}
		if looked++; looked == 16 {
			break
		}
	}
	if looked == 0 {
		return false
	}
	p.size -= len(p.rings[victim].items)
	delete(p.rings, victim)
	return true
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
