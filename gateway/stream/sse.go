package stream

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// events is the wire of an SSE response: its request's goroutine writes.
type events struct {
	frames chan *frame
	done   chan struct{}
}

func (e *events) write(f *frame) {
	select {
	case e.frames <- f:
	default: // the session has seen to it that there is room
	}
}

func (e *events) finish(int, string) { close(e.done) }

// aliveEvery is after how much silence a comment shows that the connection lives.
const aliveEvery = 15 * time.Second

// serveSSE answers with one subscription's messages until either side ends.
func (s *Server) serveSSE(w http.ResponseWriter, r *http.Request) *refusal {
	who, bad := s.identify(r)
	if bad == nil && expired(who) {
		bad = noToken() // a stream that ends as soon as it has begun would be opened again and again
	}
	if bad != nil {
		return bad
	}
	if !s.mayConnect(r, who) { // its page shall not read this
		w.Header().Del("Access-Control-Allow-Origin")
	}
	wish, faulty, bad := parseQuery(r)
	if bad != nil {
		return bad
	}
	x := s.newSession(who, "sse", w, r)
	sub, bad := x.newSub(wish)
	if bad != nil {
		for _, f := range bad.fields {
			f.Field = "query." + strings.TrimPrefix(f.Field, "filter.")
			if !slices.ContainsFunc(faulty, func(o field) bool { return o.Field == f.Field }) {
				faulty = append(faulty, f)
			}
		}
	}
	if len(faulty) > 0 {
		slices.SortFunc(faulty, func(a, b field) int { return strings.Compare(a.Field, b.Field) })
		return &refusal{status: http.StatusUnprocessableEntity, code: "INVALID_ARGUMENT", message: "the request is invalid", fields: faulty}
	}
	wire := &events{frames: make(chan *frame, queuePlaces), done: make(chan struct{})}
	x.wire = wire
	if bad := s.admit(r.Context(), x); bad != nil {
		return bad
	}
	bound(x.conn, s.o.WriteWait)
	x.begin()
	defer x.gone()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	_ = x.subscribe(sub)
	x.pump(w, r, wire)
	return nil
}

// pump writes frames as they come.
func (x *session) pump(w http.ResponseWriter, r *http.Request, wire *events) {
	control := http.NewResponseController(w)
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	put := func(b []byte) bool {
		_ = control.SetWriteDeadline(time.Now().Add(x.srv.o.WriteWait))
		if _, err := w.Write(b); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	one := func(f *frame) bool {
		var b bytes.Buffer
		fmt.Fprintf(&b, "event: %s\n", f.op)
		switch {
		case f.epoch == "":
		case f.partial: // an id that names no place to go on from: who comes back with it starts anew
			fmt.Fprintf(&b, "id: %s-part:%d\n", f.epoch, f.seq)
		default:
			fmt.Fprintf(&b, "id: %s:%d\n", f.epoch, f.seq)
		}
		b.WriteString("data: ")
		b.Write(f.data)
		b.WriteString("\n\n")
		ok := put(b.Bytes())
		x.written()
		return ok
	}
	for {
		select {
		case f := <-wire.frames:
			if !one(f) {
				return
			}
		case <-alive.C:
			if !put([]byte(": alive\n\n")) {
				return
			}
		case <-r.Context().Done():
			return
		case <-wire.done:
			for {
				select {
				case f := <-wire.frames:
					if !one(f) {
						return
					}
				default:
					return
				}
			}
		}
	}
}

// parseQuery reads a subscription from a query. Last-Event-ID goes before since: it is what the browser saw last.
func parseQuery(r *http.Request) (*wish, faults, *refusal) {
	var f faults
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, nil, &refusal{status: http.StatusBadRequest, code: "INVALID_ARGUMENT", message: "the query is not readable", fields: []field{{"query", "not readable"}}}
	}
	one := int64(1)
	w := &wish{ID: &one, Channel: q.Get("channel"), Filter: &filterWish{WarehouseID: q.Get("warehouse_id"), MinLevel: q.Get("min_level")}}
	known := []string{"channel", "warehouse_id", "robot_ids", "task_ids", "rect", "min_level", "rate_hz", "since", "detail"}
	for name, values := range q {
		switch {
		case !slices.Contains(known, name):
			f.add("query."+clip(name), "is not known here")
		case len(values) > 1:
			f.add("query."+name, "is there more than once")
		case values[0] == "":
			f.add("query."+name, "is empty")
		}
	}
	list := func(name string) []string {
		if v := q.Get(name); v != "" {
			return strings.Split(v, ",")
		}
		return nil
	}
	w.Filter.RobotIDs, w.Filter.TaskIDs = list("robot_ids"), list("task_ids")
	number := func(name, v string) float64 {
		x, err := strconv.ParseFloat(v, 64)
		if err != nil {
			f.add("query."+name, "want numbers")
		}
		return x
	}
	for _, v := range list("rect") {
		w.Filter.Rect = append(w.Filter.Rect, number("rect", v))
	}
	if v := q.Get("rate_hz"); v != "" {
		hz := number("rate_hz", v)
		w.RateHz = &hz
	}
	if v := q.Get("detail"); v != "" && v != "true" && v != "false" {
		f.add("query.detail", "want true or false")
	} else {
		w.Detail = v == "true"
	}
	since, name := q.Get("since"), "query.since"
	if v := r.Header.Get("Last-Event-ID"); v != "" {
		since, name = v, "header.Last-Event-ID"
	}
	if since != "" {
		epoch, seq, ok := strings.Cut(since, ":")
		n, err := strconv.ParseUint(seq, 10, 53)
		if !ok || err != nil || epoch == "" || len(epoch) > 100 {
			f.add(name, "want <epoch>:<seq>")
		}
		w.Since = &sinceWish{epoch, n}
	}
	return w, f, nil
}

func clip(s string) string {
	if r := []rune(s); len(r) > 100 {
		return string(r[:100]) + "…"
	}
	return s
}
