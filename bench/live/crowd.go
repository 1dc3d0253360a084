package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// latencies counts durations in steps of a tenth of a millisecond, up to ten seconds.
type latencies struct {
	buckets [100_000]atomic.Uint32
	n       atomic.Int64
}

func (l *latencies) add(d time.Duration) {
	l.buckets[min(len(l.buckets)-1, max(0, int(d/(100*time.Microsecond))))].Add(1)
	l.n.Add(1)
}

// at is the quantile q, in milliseconds.
func (l *latencies) at(q float64) float64 {
	left := int64(q * float64(l.n.Load()))
	for i := range l.buckets {
		if left -= int64(l.buckets[i].Load()); left < 0 {
			return float64(i) / 10
		}
	}
	return float64(len(l.buckets)) / 10
}

func (l *latencies) reset() {
	for i := range l.buckets {
		l.buckets[i].Store(0)
	}
	l.n.Store(0)
}

// wish is how a client connects and what it asks for.
type wish struct {
	path     string
	protocol string
	messages []string
	buffer   int  // bytes of its read buffer
	idle     bool // it reads nothing
}

// crowd is clients that read and measure how old what they read is.
type crowd struct {
	url, token string
	latency    latencies
	frames     atomic.Int64
	bytes      atomic.Int64
	broken     atomic.Int64
	measuring  atomic.Bool

	mu    sync.Mutex
	conns []*websocket.Conn
	wg    sync.WaitGroup
}

var errRefused = errors.New("refused")

// dial opens one connection; errRefused where the server has too many.
func (c *crowd) dial(ctx context.Context, w *wish) (*websocket.Conn, error) {
	d := websocket.Dialer{ReadBufferSize: w.buffer, WriteBufferSize: 512, HandshakeTimeout: 30 * time.Second}
	if w.protocol != "" {
		d.Subprotocols = []string{w.protocol}
	}
	if w.idle { // its system takes next to nothing for it either
		d.NetDialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			var n net.Dialer
			conn, err := n.DialContext(ctx, network, address)
			if t, ok := conn.(*net.TCPConn); ok {
				_ = t.SetReadBuffer(32 << 10)
			}
			return conn, err
		}
	}
	conn, res, err := d.DialContext(ctx, c.url+w.path, http.Header{"Authorization": {"Bearer " + c.token}})
	if res != nil && res.Body != nil {
		_ = res.Body.Close()
	}
	if res != nil && res.StatusCode == http.StatusTooManyRequests {
		return nil, errRefused
	}
	if err != nil {
		return nil, err
	}
	for _, m := range w.messages {
		if err := conn.WriteMessage(websocket.TextMessage, []byte(m)); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	c.conns = append(c.conns, conn)
	c.mu.Unlock()
	return conn, nil
}

// join lets n clients connect, some at a time, and read.
func (c *crowd) join(ctx context.Context, n int, of func(i int) *wish) error {
	const together = 16
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	for worker := range together {
		wg.Go(func() { // ends with its share
			for i := worker; i < n && failed.Load() == nil; i += together {
				w := of(i)
				conn, err := c.dial(ctx, w)
				if err != nil {
					err = fmt.Errorf("client %d: %w", i, err)
					failed.Store(&err)
					return
				}
				if !w.idle {
					c.wg.Go(func() { c.read(conn) }) // ends with its connection
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// read measures to the end of the connection.
func (c *crowd) read(conn *websocket.Conn) {
	head := make([]byte, 768)
	for {
		kind, r, err := conn.NextReader()
		if err != nil {
			c.broken.Add(1)
			return
		}
		n, _ := io.ReadFull(r, head)
		rest, _ := io.Copy(io.Discard, r)
		if c.measuring.Load() {
			c.take(kind, head[:n], int64(n)+rest)
		}
	}
}

// take counts a frame, if it is one of changes.
func (c *crowd) take(kind int, head []byte, size int64) {
	now := time.Now()
	var made time.Time
	switch {
	case kind == websocket.BinaryMessage && len(head) >= 56 && head[0] == 2 && head[1] == 0 && head[2] == 1: // docs/live.md
		made = time.UnixMilli(int64(math.Float64frombits(binary.LittleEndian.Uint64(head[16:]))))
	case kind == websocket.BinaryMessage && len(head) >= 8: // the plain broadcast's
		made = time.UnixMicro(int64(binary.LittleEndian.Uint64(head)))
	case bytes.HasPrefix(head, []byte(`{"op":"delta"`)):
		made = clock(head, now)
	default:
		return
	}
	c.frames.Add(1)
	c.bytes.Add(size)
	if !made.IsZero() {
		c.latency.add(now.Sub(made))
	}
}

// clock reads when the first robot of a delta was shown, which is the clock where its rectangle is looked at, or when the
// first transition was recorded.
func clock(head []byte, now time.Time) time.Time {
	if _, after, ok := bytes.Cut(head, []byte(`"reason":"`)); ok {
		text, _, _ := bytes.Cut(after, []byte(`"`))
		us, _ := strconv.ParseInt(string(text), 10, 64)
		return time.UnixMicro(us)
	}
	if !bytes.Contains(head, []byte(`"robot_code":"r00000"`)) {
		return time.Time{}
	}
	_, after, _ := bytes.Cut(head, []byte(`"velocity_mps":`))
	text, _, _ := bytes.Cut(after, []byte(`,`))
	speed, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return time.Time{}
	}
	ms := int64(math.Round(speed * 1000))
	at := now.UnixMilli()/1_000_000*1_000_000 + ms
	if at > now.UnixMilli()+1000 { // the clock has just begun anew
		at -= 1_000_000
	}
	return time.UnixMilli(at)
}

// leave ends all connections and waits for the readers.
func (c *crowd) leave() {
	c.mu.Lock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
	c.mu.Unlock()
	c.wg.Wait()
}

// begin starts to measure anew.
func (c *crowd) begin() {
	c.latency.reset()
	c.frames.Store(0)
	c.bytes.Store(0)
	c.measuring.Store(true)
}
