package influx

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"starling/engine/fact"
)

// queued is how many blocks wait in memory: what comes while the server takes one. What does not fit goes to disk.
const queued = 4

// stream is where a block goes: a bucket, and the unit of its times.
type stream uint8

const (
	streamRaw     stream = iota // milliseconds, into the bucket of what was measured
	streamTimings               // microseconds, into the bucket of minutes

	streams = iota
)

// block is a batch of lines that leaves as one request.
type block struct {
	lines    []byte
	points   int
	to       stream
	from, by int64    // earliest and latest time, in milliseconds
	packed   bool     // lines are compressed
	serials  []uint64 // of its files on disk, rising
}

func (b *block) note(at time.Time) {
	ms := at.UnixMilli()
	if b.points == 0 || ms < b.from {
		b.from = ms
	}
	if b.points == 0 || ms > b.by {
		b.by = ms
	}
	b.points++
}

// outbox is what waits for the server.
type outbox struct {
	queue chan *block
	free  chan *block // to be used again
	spool *spool

	// The sender's own. What comes from memory and what comes from disk, of each stream, waits by itself after a failure:
	// what the server never takes holds up nothing else.
	fresh, stale [streams]lane
	took         [streams]uint64 // blocks that the server has taken

	mu    sync.Mutex
	fault [streams]fault // why the newest block of a stream was not taken
	late  span           // the time that what came from disk was measured in
	owed  owed
	due   chan struct{} // something is owed
}

// lane is how blocks of one kind fare.
type lane struct {
	tries int
	again time.Time // until then the server is left alone
	away  bool      // it failed for the server's sake: once anything else of the stream is taken it goes on at once
	took  uint64    // of the stream, when it failed last
}

type fault struct {
	err error // nil = it was taken
	at  time.Time
}

func (c *Client) newBlock(to stream) *block {
	select {
	case b := <-c.out.free:
		*b = block{lines: b.lines[:0], to: to}
		return b
	default:
		return &block{to: to}
	}
}

func (c *Client) recycle(b *block) {
	if b.packed || cap(b.lines) > 4<<20 {
		return
	}
	select {
	case c.out.free <- b:
	default:
	}
}

// WriteStatuses implements the sink of measured statuses. It does not wait for the server.
func (c *Client) WriteStatuses(_ context.Context, batch []fact.Status) {
	b := c.newBlock(streamRaw)
	for i := range batch {
		b.lines = appendStatus(b.lines, &batch[i])
		b.note(batch[i].At)
	}
	c.put(b)
}

// WriteCongestion takes how congested zones, lanes and warehouses are. It does not wait for the server.
func (c *Client) WriteCongestion(batch []fact.Congestion) {
	if len(batch) == 0 {
		return
	}
	b := c.newBlock(streamRaw)
	for i := range batch {
		b.lines = appendCongestion(b.lines, &batch[i])
		b.note(batch[i].At)
	}
	c.put(b)
}

// WriteTimings takes how long tasks took. It does not wait for the server.
func (c *Client) WriteTimings(batch []fact.Timing) {
	if len(batch) == 0 {
		return
	}
	b := c.newBlock(streamTimings)
	for i := range batch {
		b.lines = appendTiming(b.lines, &batch[i])
		b.note(batch[i].At)
	}
	c.put(b)
}

func (c *Client) put(b *block) {
	select {
	case c.out.queue <- b:
	default:
		c.keep(b)
	}
}

// keep puts a block to disk.
func (c *Client) keep(b *block) {
	c.out.spool.put(b)
	c.recycle(b)
}

// send writes what comes, and what waits on disk when nothing comes. After a failure it waits, longer each time; what
// comes meanwhile goes to disk.
func (c *Client) send(ctx context.Context) {
	for {
		b, disk := c.next(ctx)
		if b == nil && ctx.Err() != nil {
			break
		}
		switch {
		case b == nil:
			continue
		case !disk && time.Now().Before(c.out.fresh[b.to].again):
			c.keep(b)
			continue
		}
		err := c.write(ctx, b)
		if err == nil {
			c.written(ctx, b, disk)
			continue
		}
		c.unwritten(ctx, b, disk, err)
	}
	for { // what is left waits on disk for the next start
		select {
		case b := <-c.out.queue:
			c.keep(b)
		default:
			return
		}
	}
}

// unwritten follows a block that the server has not taken.
func (c *Client) unwritten(ctx context.Context, b *block, disk bool, err error) {
	var refused *statusError
	answered := errors.As(err, &refused)
	if answered && !disk && !refused.busy() {
		c.out.note(b.to, err)
	}
	if answered && refused.lasting() && (!disk || len(b.serials) == 1) {
		c.refuse(ctx, b.points, err)
		if disk {
			c.out.spool.done(b)
		}
		return
	}
	if ctx.Err() != nil { // it is cut off by the end of this process
		if !disk {
			c.keep(b)
		}
		return
	}
	c.metrics.errors.WithLabelValues("write").Inc()
	l := &c.out.fresh[b.to]
	if disk {
		l = &c.out.stale[b.to]
	}
	if l.tries == 0 {
		c.log.LogAttrs(ctx, slog.LevelWarn, "influxdb does not take points: they wait on disk", slog.String("event", "influx.away"), slog.Any("error", err))
	}
	wait := c.o.Retry << min(l.tries, 6)
	wait = wait/2 + rand.N(wait)
	if answered {
		wait = max(wait, refused.after)
	}
	took := c.out.took[b.to]
	ofTheBlock := answered && refused.ofTheBlock() || errors.Is(err, context.DeadlineExceeded)
	again := l.tries > 0 && took > l.took // although something else was taken meanwhile
	*l = lane{tries: l.tries + 1, again: time.Now().Add(wait), away: !ofTheBlock && !again, took: took}
	switch {
	case !disk:
		c.keep(b)
	case ofTheBlock || again:
		if lost := c.out.spool.failed(b, took, ofTheBlock); lost > 0 {
			c.refuse(ctx, lost, err)
		}
	}
}

func (c *Client) refuse(ctx context.Context, points int, err error) {
	c.metrics.dropped.WithLabelValues("refused").Add(float64(points))
	c.log.LogAttrs(ctx, slog.LevelWarn, "influxdb refuses points", slog.String("event", "influx.refused"), slog.Int("points", points), slog.Any("error", err))
}

func (o *outbox) note(to stream, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fault[to] = fault{err: err, at: time.Now()}
}

// next is what to write: what has just come before what waits on disk. nil = look again.
func (c *Client) next(ctx context.Context) (b *block, disk bool) {
	select {
	case b := <-c.out.queue:
		return b, false
	default:
	}
	if ctx.Err() != nil {
		return nil, false
	}
	wait := time.Second
	for to := range c.out.stale {
		if left := time.Until(c.out.stale[to].again); left > 0 {
			wait = min(wait, left)
			continue
		}
		if b := c.out.spool.first(stream(to)); b != nil {
			return b, true
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case b := <-c.out.queue:
		return b, false
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil, false
}

// written follows a block that the server has taken. What came late is missing in the minutes: they are made again.
func (c *Client) written(ctx context.Context, b *block, disk bool) {
	o := &c.out
	o.took[b.to]++
	o.fresh[b.to] = lane{}
	o.note(b.to, nil)
	if o.stale[b.to].away {
		o.stale[b.to].again = time.Time{}
	}
	if !disk {
		c.metrics.points.WithLabelValues("memory").Add(float64(b.points))
		c.recycle(b)
		return
	}
	o.stale[b.to] = lane{}
	c.metrics.points.WithLabelValues("disk").Add(float64(b.points))
	o.spool.done(b)
	if b.to != streamRaw {
		return
	}
	settled := o.spool.settled(streamRaw)
	if settled {
		c.log.LogAttrs(ctx, slog.LevelInfo, "influxdb has all that waited on disk", slog.String("event", "influx.caught_up"))
	}
	o.cameLate(span{b.from, b.by}, settled)
}

// write sends one block.
func (c *Client) write(ctx context.Context, b *block) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	bucket, precision := c.o.Bucket, "ms"
	if b.to == streamTimings {
		bucket, precision = c.minutes(), "us"
	}
	header := http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	body := b.lines
	if !b.packed && !c.plain {
		body = pack(body)
	}
	if b.packed || !c.plain {
		header.Set("Content-Encoding", "gzip")
	}
	began := time.Now()
	res, err := c.do(ctx, c.http, http.MethodPost, "/api/v2/write", url.Values{"org": {c.o.Org}, "bucket": {bucket}, "precision": {precision}}, body, header)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 4096)) // so that the connection is used again
	_ = res.Body.Close()
	c.metrics.write.Observe(time.Since(began).Seconds())
	return nil
}

// pack compresses, fast.
func pack(lines []byte) []byte {
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed) // the level is one
	_, _ = z.Write(lines)                             // a buffer takes all
	_ = z.Close()
	return out.Bytes()
}
