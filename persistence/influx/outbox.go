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
)

// block is a batch of lines that leaves as one request.
type block struct {
	lines    []byte
	points   int
	to       stream
	from, by int64  // earliest and latest time, in milliseconds
	packed   bool   // lines are compressed
	serial   uint64 // of the last of its files on disk
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

// WriteCongestion takes how full zones and lanes are. It does not wait for the server.
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
	var tries int
	var again time.Time // until then the server is left alone
	var late [2]int64   // the time that what came from disk was measured in, in milliseconds; 0, 0 = nothing did
	for {
		b, disk := c.next(ctx, time.Until(again))
		if b == nil && ctx.Err() != nil {
			break
		}
		switch {
		case b == nil:
			continue
		case !disk && time.Now().Before(again):
			c.keep(b)
			continue
		}
		err := c.write(ctx, b)
		var refused *statusError
		switch {
		case err == nil:
			tries, again = 0, time.Time{}
			c.written(ctx, b, disk, &late)
		case errors.As(err, &refused) && refused.lasting():
			c.metrics.dropped.WithLabelValues("refused").Add(float64(b.points))
			c.log.LogAttrs(ctx, slog.LevelWarn, "influxdb refuses points", slog.String("event", "influx.refused"), slog.Int("points", b.points), slog.Any("error", err))
			if disk {
				c.out.spool.done(b)
			}
		default:
			c.metrics.errors.WithLabelValues("write").Inc()
			wait := c.o.Retry << min(tries, 6)
			wait = wait/2 + rand.N(wait)
			if refused != nil {
				wait = max(wait, refused.after)
			}
			if tries == 0 && ctx.Err() == nil {
				c.log.LogAttrs(ctx, slog.LevelWarn, "influxdb does not take points: they wait on disk", slog.String("event", "influx.away"), slog.Any("error", err))
			}
			tries, again = tries+1, time.Now().Add(wait)
			if !disk {
				c.keep(b)
			}
		}
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

// next is what to write: what has just come before what waits on disk. nil = look again.
func (c *Client) next(ctx context.Context, wait time.Duration) (b *block, disk bool) {
	select {
	case b := <-c.out.queue:
		return b, false
	default:
	}
	if ctx.Err() != nil {
		return nil, false
	}
	if wait <= 0 {
		if b := c.out.spool.first(); b != nil {
			return b, true
		}
		wait = time.Second
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
func (c *Client) written(ctx context.Context, b *block, disk bool, late *[2]int64) {
	if !disk {
		c.metrics.points.WithLabelValues("memory").Add(float64(b.points))
		c.recycle(b)
		return
	}
	c.metrics.points.WithLabelValues("disk").Add(float64(b.points))
	c.out.spool.done(b)
	if late[0] == 0 {
		*late = [2]int64{b.from, b.by}
	}
	late[0], late[1] = min(late[0], b.from), max(late[1], b.by)
	if !c.out.spool.empty() {
		return
	}
	from, to := time.UnixMilli(late[0]), time.UnixMilli(late[1])
	*late = [2]int64{}
	c.log.LogAttrs(ctx, slog.LevelInfo, "influxdb has all that waited on disk", slog.String("event", "influx.caught_up"))
	if time.Since(from) < lookBack/2 { // the tasks see it by themselves
		return
	}
	c.done.Go(func() {
		if err := c.Downsample(ctx, from, to); err != nil && ctx.Err() == nil {
			c.metrics.errors.WithLabelValues("downsample").Inc()
			c.log.LogAttrs(ctx, slog.LevelWarn, "what came late is missing in the minutes", slog.String("event", "influx.downsample"), slog.Any("error", err))
		}
	})
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
	res, err := c.do(ctx, http.MethodPost, "/api/v2/write", url.Values{"org": {c.o.Org}, "bucket": {bucket}, "precision": {precision}}, body, header)
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
