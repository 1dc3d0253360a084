package view

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"starling/engine/fleet"
	"starling/engine/task"
)

// The bounds of a log: how many transitions are kept for those who come back and how many bytes of them, how many go
// into one batch, and how long a batch waits for more.
const (
	MaxKept  = 16384
	maxBytes = 32 << 20
	maxBatch = 200
	batchFor = 50 * time.Millisecond
)

// bodyBytes is how large an encoded transition may be to be kept: what is larger is made again for each frame that it is in.
const bodyBytes = 2 << 10

// Transition is one recorded step of a task, with the task after it.
type Transition struct {
	Event string
	Task  task.View

	body atomic.Pointer[[]byte]
}

// Body is what encode makes of the transition: made once for all who are told, unless it is large.
func (t *Transition) Body(encode func(*Transition) []byte) []byte {
	if b := t.body.Load(); b != nil {
		return *b
	}
	b := encode(t)
	if len(b) <= bodyBytes {
		b = slices.Clone(b) // as large as it is
		t.body.Store(&b)
	}
	return b
}

// weight is about how many bytes a transition takes while it is kept: the task, which is about as large encoded, and what
// the customer has put into it, which may be as large again.
func (t *Transition) weight() int {
	const bare = 1 << 10
	n := bare + len(t.Task.Spec.Payload) + 4*len(t.Task.Spec.Errands)
	for _, p := range t.Task.Spec.Places {
		n += len(p) + 16
	}
	return n + min(n-bare, bodyBytes)
}

// Run is what happened within a short time. Numbers of runs are contiguous.
type Run[T any] struct {
	Seq    uint64
	Events []*T
	began  time.Time
	upto   uint64 // how many events the log has had, with these
	weight int    // bytes
}

// Batch is a run of steps of tasks.
type Batch = Run[Transition]

// Board is the open tasks of one tenant, and logs of what happened to tasks: one of each warehouse, and one of all.
type Board struct {
	mu   sync.Mutex
	open map[fleet.TaskID]*task.View
	logs logs[Transition]
}

// weighty is an event that knows about how many bytes it takes while it is kept.
type weighty[T any] interface {
	*T
	weight() int
}

// log is a bounded history. Its life ends where a step has been missed: who follows it starts from what is there.
type log[T any] struct {
	life    uint64
	seq     uint64 // of the last sealed run
	batches []Run[T]
	kept    int    // events
	weight  int    // bytes
	had     uint64 // events of sealed runs
	filling Run[T]
}

// logs are those of the warehouses; "" = of all of them.
type logs[T any] map[fleet.WarehouseID]*log[T]

func newBoard() *Board {
	return &Board{open: map[fleet.TaskID]*task.View{}, logs: logs[Transition]{}}
}

// of is the log of a warehouse, made where there is none.
func (all logs[T]) of(w fleet.WarehouseID) *log[T] {
	l := all[w]
	if l == nil {
		l = &log[T]{}
		all[w] = l
	}
	return l
}

// show takes a task's newest state. One that is ahead of its steps was restored: the steps between were recorded, and
// nobody was told of them.
func (b *Board) show(v *task.View) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.open[v.Spec.ID]
	switch {
	case old == nil && v.Status.Final(), old != nil && v.Version <= old.Version:
		return
	}
	b.keep(v)
	for _, w := range []fleet.WarehouseID{v.Spec.Shard.Warehouse, ""} {
		b.logs.of(w).end()
	}
}

// changed takes a recorded step.
func (b *Board) changed(now time.Time, e task.Event, v *task.View) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := &Transition{Event: eventName(e), Task: *v}
	known := int64(0)
	if old := b.open[v.Spec.ID]; old != nil {
		known = old.Version
	}
	if v.Version <= known {
		return
	}
	b.keep(v)
	for _, w := range []fleet.WarehouseID{v.Spec.Shard.Warehouse, ""} {
		if l := b.logs.of(w); v.Version == known+1 {
			add(l, now, t)
		} else {
			l.end()
		}
	}
}

func (b *Board) keep(v *task.View) {
	if v.Status.Final() {
		delete(b.open, v.Spec.ID)
		return
	}
	c := *v
	b.open[v.Spec.ID] = &c // a new one each time: readers keep the old
}

func (b *Board) get(w fleet.WarehouseID, id fleet.TaskID) (v task.View, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.open[id]; t != nil && t.Spec.Shard.Warehouse == w {
		return *t, true
	}
	return v, false
}

// look is the log of a warehouse, empty where nothing has happened: who reads makes none, for readers may ask for any.
func (all logs[T]) look(now time.Time, w fleet.WarehouseID) *log[T] {
	l := all[w]
	if l == nil {
		return &log[T]{}
	}
	l.ripen(now)
	return l
}

// Open lists the open tasks of a warehouse ("" = all), the oldest first. They are shared: not to be changed.
func (b *Board) Open(w fleet.WarehouseID) []*task.View {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.openOf(w)
}

func (b *Board) openOf(w fleet.WarehouseID) []*task.View {
	var out []*task.View
	for _, v := range b.open {
		if w == "" || v.Spec.Shard.Warehouse == w {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(x, y *task.View) int {
		if c := x.Spec.CreatedAt.Compare(y.Spec.CreatedAt); c != 0 {
			return c
		}
		if x.Spec.ID < y.Spec.ID {
			return -1
		}
		return 1
	})
	return out
}

// Place is where somebody is in a log.
type Place struct{ Life, Seq uint64 }

// Join returns the open tasks of a warehouse ("" = all), and the place in its log from which what follows is new. They are
// shared: not to be changed.
func (b *Board) Join(w fleet.WarehouseID) (open []*task.View, at Place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.openOf(w), b.logs.join(w)
}

// JoinSome is Join for some tasks, in the order of ids; missing are those of ids that are not open in the warehouse.
func (b *Board) JoinSome(w fleet.WarehouseID, ids []fleet.TaskID) (open []*task.View, missing []fleet.TaskID, at Place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		if v := b.open[id]; v != nil && (w == "" || v.Spec.Shard.Warehouse == w) {
			open = append(open, v)
		} else {
			missing = append(missing, id)
		}
	}
	return open, missing, b.logs.join(w)
}

func (all logs[T]) join(w fleet.WarehouseID) Place {
	l := all.look(time.Time{}, w)
	l.seal()
	return Place{l.life, l.seq}
}

// Head is the place of the newest batch that is complete.
func (b *Board) Head(now time.Time, w fleet.WarehouseID) Place {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.logs.head(now, w)
}

func (all logs[T]) head(now time.Time, w fleet.WarehouseID) Place {
	l := all.look(now, w)
	return Place{l.life, l.seq}
}

// After returns the next batch after a place, nil where there is none yet; behind is how many transitions follow the
// place. ok is false where it cannot be said any more: the log has been cut, or has begun anew.
func (b *Board) After(now time.Time, w fleet.WarehouseID, at Place) (next *Batch, behind int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.logs.after(now, w, at)
}

func (all logs[T]) after(now time.Time, w fleet.WarehouseID, at Place) (next *Run[T], behind int, ok bool) {
	l := all.look(now, w)
	first := l.seq - uint64(len(l.batches)) // the place before the oldest batch that is kept
	if at.Life != l.life || at.Seq > l.seq || at.Seq < first {
		return nil, 0, false
	}
	i := int(at.Seq - first)
	if i == len(l.batches) {
		return nil, 0, true
	}
	found := l.batches[i]
	return &found, int(l.had-found.upto) + len(found.Events), true
}

func add[T any, P weighty[T]](l *log[T], now time.Time, t P) {
	l.ripen(now)
	if len(l.filling.Events) == 0 {
		l.filling.began = now
	}
	l.filling.Events = append(l.filling.Events, t)
	l.filling.weight += t.weight()
	if len(l.filling.Events) >= maxBatch {
		l.seal()
	}
}

// ripen completes a batch that has waited long enough.
func (l *log[T]) ripen(now time.Time) {
	if len(l.filling.Events) > 0 && now.Sub(l.filling.began) >= batchFor {
		l.seal()
	}
}

func (l *log[T]) seal() {
	if len(l.filling.Events) == 0 {
		return
	}
	l.seq++
	l.had += uint64(len(l.filling.Events))
	l.filling.Seq, l.filling.upto = l.seq, l.had
	l.batches = append(l.batches, l.filling)
	l.kept, l.weight = l.kept+len(l.filling.Events), l.weight+l.filling.weight
	l.filling = Run[T]{}
	cut := 0
	for l.kept > MaxKept || l.weight > maxBytes {
		l.kept, l.weight = l.kept-len(l.batches[cut].Events), l.weight-l.batches[cut].weight
		cut++
	}
	l.batches = slices.Delete(l.batches, 0, cut)
}

// end begins the log anew.
func (l *log[T]) end() {
	l.life++
	l.batches, l.kept, l.weight, l.filling = nil, 0, 0, Run[T]{}
}

// eventName is the step's name in the contract, the same as in the task's history.
func eventName(e task.Event) string {
	switch e.(type) {
	case task.Created:
		return "created"
	case task.Assigned:
		return "assigned"
	case task.Unassigned:
		return "unassigned"
	case task.Started:
		return "started"
	case task.ErrandReached:
		return "errand_reached"
	case task.CancelStarted:
		return "cancel_started"
	case task.Cancelled:
		return "cancelled"
	case task.Succeeded:
		return "succeeded"
	case task.Failed:
		return "failed"
	}
	return ""
}
