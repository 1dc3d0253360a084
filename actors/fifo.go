package actors

// keep is the capacity up to which an empty fifo holds on to its memory.
const keep = 8

// fifo is a ring that grows by doubling and gives its memory back when it has grown large and is empty.
// The zero value is empty and holds no memory.
type fifo struct {
	buf  []any
	head int32
	n    int32
}

func (q *fifo) push(m any) {
	if int(q.n) == len(q.buf) {
		grown := make([]any, max(4, 2*len(q.buf)))
		for i := range q.n {
			grown[i] = q.buf[(q.head+i)&int32(len(q.buf)-1)]
		}
		q.buf, q.head = grown, 0
	}
	q.buf[(q.head+q.n)&int32(len(q.buf)-1)] = m
	q.n++
}

// all empties the fifo.
func (q *fifo) all() []any {
	var all []any
	for {
		m, ok := q.pop()
		if !ok {
			return all
		}
		all = append(all, m)
	}
}

func (q *fifo) pop() (any, bool) {
	if q.n == 0 {
		return nil, false
	}
	m := q.buf[q.head]
	q.buf[q.head] = nil
	q.head = (q.head + 1) & int32(len(q.buf)-1)
	q.n--
	if q.n == 0 {
		q.head = 0
		if len(q.buf) > keep {
			q.buf = nil
		}
	}
	return m, true
}
