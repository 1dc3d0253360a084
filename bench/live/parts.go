package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// all subscribes to the whole floor, and part to a rectangle of about a hundred robots, the clock among them.
func all(protocol string, hz float64) *wish {
	return &wish{
		path: "/api/v1/ws", protocol: protocol, buffer: 16 << 10,
		messages: []string{fmt.Sprintf(`{"op":"subscribe","id":1,"channel":"robots","filter":{"warehouse_id":%q},"rate_hz":%g}`, warehouse, hz)},
	}
}

func part(protocol string, hz float64, i int) *wish {
	return &wish{
		path: "/api/v1/ws", protocol: protocol, buffer: 4 << 10,
		messages: []string{fmt.Sprintf(`{"op":"subscribe","id":1,"channel":"robots","filter":{"warehouse_id":%q,"rect":[-20,-20,%g,%g]},"rate_hz":%g}`,
			warehouse, 95+float64(i%10), 95+float64(i/10%10), hz)},
	}
}

func plain(int) *wish { return &wish{path: "/plain", buffer: 16 << 10} }

// memory says what a client costs that has its snapshot and is told nothing.
func (b *bench) memory(ctx context.Context) error {
	b.say("\nMemory of a client (heap and stacks in use after a collection; resident; the system's socket buffers not counted)")
	b.say("  %-50s %12s %12s", "", "kB in use", "kB resident")
	for _, n := range []int{b.size.some, b.size.many} {
		for _, kind := range []struct {
			name string
			of   func(int) *wish
		}{{"a subscription, binary", func(i int) *wish { return part("starling.v1.bin", 1, i) }}, {"plain melody", plain}} {
			s, err := start(ctx)
			if err != nil {
				return err
			}
			if _, err := s.tell(order{Do: "robots", N: 1}); err != nil { // the clock alone
				return err
			}
			before, err := s.tell(order{Do: "stat"})
			if err != nil {
				return err
			}
			c := s.crowd()
			if err := c.join(ctx, n, kind.of); err != nil {
				return err
			}
			time.Sleep(b.size.runFor / 4)
			after, err := s.tell(order{Do: "stat"})
			c.leave()
			s.stop()
			if err != nil {
				return err
			}
			b.say("  %-50s %12.1f %12.1f", fmt.Sprintf("%d clients, %s", n, kind.name), float64(after.Memory-before.Memory)/1000/float64(n), float64(after.RSS-before.RSS)/1000/float64(n))
		}
	}
	return nil
}

// delivery says how old frames are when they arrive, and what they cost.
func (b *bench) delivery(ctx context.Context) error {
	b.say("\n%d clients at 2 Hz, %d robots that change once a second each", b.size.some, b.size.robots)
	b.heads()
	for _, run := range []struct {
		name    string
		clients int
		of      func(int) *wish
	}{
		{"binary, the whole floor", b.size.some, func(int) *wish { return all("starling.v1.bin", 2) }},
		{"binary, a rectangle of about 100 robots", b.size.some, func(i int) *wish { return part("starling.v1.bin", 2, i) }},
		{"JSON, a rectangle of about 100 robots", b.size.some, func(i int) *wish { return part("starling.v1.json", 2, i) }},
		{fmt.Sprintf("JSON, the whole floor, %d clients", b.size.some/40), b.size.some / 40, func(int) *wish { return all("starling.v1.json", 2) }},
	} {
		if err := b.beside(ctx, run.name, run.clients, 500*time.Millisecond, run.of); err != nil {
			return err
		}
	}
	b.say("  Age: binary, from the making of the frame; JSON, from the change of a robot that changes every 5 ms, so up to 5 ms more;")
	b.say("  plain, from the call of Broadcast. CPU: all of the server's process, the views included; net: without what it uses with the robots and no clients.")
	return nil
}

// beside measures the channel, and then a plain broadcast of as many bytes to as many clients, on the same server.
func (b *bench) beside(ctx context.Context, name string, clients int, every time.Duration, of func(int) *wish) error {
	s, err := start(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	if _, err := s.tell(order{Do: "robots", N: b.size.robots}); err != nil {
		return err
	}
	idle, err := b.idle(s)
	if err != nil {
		return err
	}
	c := s.crowd()
	if err := c.join(ctx, clients, of); err != nil {
		return err
	}
	time.Sleep(b.size.runFor / 2) // the snapshots
	f, err := b.measure(s, c, idle)
	c.leave()
	if err != nil {
		return err
	}
	b.row(name, f)
	if _, err := s.tell(order{Do: "broadcast", N: int(f.bytes / max(1, f.frames)), Every: int(every.Milliseconds())}); err != nil {
		return err
	}
	p := s.crowd()
	if err := p.join(ctx, clients, plain); err != nil {
		return err
	}
	time.Sleep(b.size.runFor / 4)
	f, err = b.measure(s, p, idle)
	p.leave()
	if err == nil {
		b.row("  plain melody, the same bytes", f)
	}
	return err
}

// many is the design's size.
func (b *bench) many(ctx context.Context) error {
	b.say("\n%d clients at 1 Hz, %d robots that change once a second each", b.size.many, b.size.robots)
	b.heads()
	return b.beside(ctx, "binary, a rectangle of about 100 robots", b.size.many, time.Second, func(i int) *wish {
		w := part("starling.v1.bin", 1, i)
		w.buffer = 1 << 10
		return w
	})
}

// events measures the tasks channel.
func (b *bench) events(ctx context.Context) error {
	b.say("\n%d clients on the tasks channel, 100 transitions a second (batched for 50 ms)", b.size.some)
	b.heads()
	s, err := start(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	idle, err := b.idle(s)
	if err != nil {
		return err
	}
	c := s.crowd()
	if err := c.join(ctx, b.size.some, func(int) *wish {
		return &wish{path: "/api/v1/ws", protocol: "starling.v1.json", buffer: 4 << 10, messages: []string{fmt.Sprintf(`{"op":"subscribe","id":1,"channel":"tasks","filter":{"warehouse_id":%q}}`, warehouse)}}
	}); err != nil {
		return err
	}
	if _, err := s.tell(order{Do: "tasks", N: 1, Every: 10}); err != nil {
		return err
	}
	time.Sleep(b.size.runFor / 4)
	f, err := b.measure(s, c, idle)
	c.leave()
	if err == nil {
		b.row("JSON; age from the recording of the first", f)
	}
	return err
}

// bad lets all kinds of bad clients loose on a server that serves good ones.
func (b *bench) bad(ctx context.Context) error {
	good := b.size.some / 5
	b.say("\nBad clients beside %d good ones (binary, a rectangle, 2 Hz), %d robots", good, b.size.robots)
	s, err := start(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	if _, err := s.tell(order{Do: "robots", N: b.size.robots}); err != nil {
		return err
	}
	idle, err := b.idle(s)
	if err != nil {
		return err
	}
	c := s.crowd()
	if err := c.join(ctx, good, func(i int) *wish { return part("starling.v1.bin", 2, i) }); err != nil {
		return err
	}
	time.Sleep(b.size.runFor / 2)
	f, err := b.measure(s, c, idle)
	if err != nil {
		return err
	}
	b.say("  before:  p50 %.1f ms, p99 %.1f ms, p99.9 %.1f ms, %.0f frames/s", f.p50, f.p99, f.p999, f.frames)
	for _, kind := range b.kinds() {
		if err := b.suffer(ctx, s, c, kind); err != nil {
			return err
		}
	}
	if c.broken.Load() > 0 {
		return fmt.Errorf("%d good clients were cut off", c.broken.Load())
	}
	c.leave()
	return nil
}

// kind is one way to be bad.
type kind struct {
	name  string
	begin func(context.Context, *crowd, *atomic.Int64) error
}

// kinds of bad clients.
func (b *bench) kinds() []kind {
	return []kind{
		{fmt.Sprintf("%d connects in 10 s, all of whom subscribe", b.size.many), b.stampede},
		{fmt.Sprintf("%d who subscribe 16 times to everything in JSON and read nothing", b.size.some/5), func(ctx context.Context, c *crowd, _ *atomic.Int64) error {
			return c.join(ctx, b.size.some/5, func(int) *wish {
				w := all("starling.v1.json", 10)
				w.idle, w.messages = true, nil
				for id := range 16 {
					w.messages = append(w.messages, fmt.Sprintf(`{"op":"subscribe","id":%d,"channel":"robots","rate_hz":10}`, id+1))
				}
				return w
			})
		}},
		{fmt.Sprintf("%d who subscribe to rectangles of their own of all robots and read nothing", b.size.some/5), func(ctx context.Context, c *crowd, _ *atomic.Int64) error {
			return c.join(ctx, b.size.some/5, func(i int) *wish {
				w := all("starling.v1.json", 10)
				w.idle = true
				w.messages = []string{fmt.Sprintf(`{"op":"subscribe","id":1,"channel":"robots","filter":{"warehouse_id":%q,"rect":[-20,-20,2000,%d]},"rate_hz":10}`, warehouse, 2000+i)}
				return w
			})
		}},
		{fmt.Sprintf("%d at a time who send garbage, too much or too large, and come back at once", b.size.some/20), b.garbage},
	}
}

// suffer lets one kind loose for ten seconds and says what the good ones had of it.
func (b *bench) suffer(ctx context.Context, s *server, good *crowd, k kind) error {
	before, err := s.tell(order{Do: "mark"})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, b.size.runFor/4+10*time.Second)
	defer cancel()
	bad := s.crowd()
	var refused atomic.Int64
	good.begin()
	began := time.Now()
	err = k.begin(ctx, bad, &refused)
	for left := 10*time.Second - time.Since(began); err == nil && left > 0; left = 0 {
		time.Sleep(min(left, b.size.runFor*5/4))
	}
	good.measuring.Store(false)
	took := time.Since(began).Seconds()
	after, told := s.tell(order{Do: "mark"})
	bad.mu.Lock()
	connected := len(bad.conns)
	bad.mu.Unlock()
	cancel()
	bad.leave()
	if err == nil {
		err = told
	}
	if err != nil {
		return err
	}
	b.say("  %s (%.1f s)", k.name, took)
	b.say("    the good ones: p50 %.1f ms, p99 %.1f ms, p99.9 %.1f ms, %.0f frames/s, %d cut off", good.latency.at(0.5), good.latency.at(0.99), good.latency.at(0.999), float64(good.frames.Load())/took, good.broken.Load())
	b.say("    the bad ones: %d connected, %d refused with 429; ends: %s", connected, refused.Load(), ends(before.Counted, after.Counted))
	b.say("    the server: at most %.0f MB resident, %.1f MB on their way to clients, %.1f cores", float64(after.MaxRSS)/1e6, float64(after.Queued)/1e6, float64(after.CPU-before.CPU)/1e6/took)
	time.Sleep(b.size.runFor / 4)
	_, err = s.tell(order{Do: "stat"}) // a collection, and the maxima begin anew
	return err
}

func ends(before, after map[string]float64) string {
	var out []string
	for name, n := range after {
		if reason, ok := strings.CutPrefix(name, "closed_total "); ok && n > before[name] {
			out = append(out, fmt.Sprintf("%.0f %s", n-before[name], reason))
		}
	}
	slices.Sort(out)
	return strings.Join(append(out, fmt.Sprintf("%.0f deltas held back", after["dropped_total robots"]-before["dropped_total robots"])), ", ")
}

// stampede is as many connects as many clients, evenly over ten seconds. Each subscribes and reads.
func (b *bench) stampede(ctx context.Context, c *crowd, refused *atomic.Int64) error {
	const over = 10 * time.Second
	began := time.Now()
	var wg sync.WaitGroup
	var failed atomic.Int64
	for worker := range 64 {
		wg.Go(func() { // ends with its share
			for i := worker; i < b.size.many && ctx.Err() == nil; i += 64 {
				time.Sleep(time.Until(began.Add(over * time.Duration(i) / time.Duration(b.size.many))))
				w := part("starling.v1.bin", 1, i)
				w.buffer = 1 << 10
				conn, err := c.dial(ctx, w)
				switch {
				case errors.Is(err, errRefused):
					refused.Add(1)
				case err != nil:
					failed.Add(1)
				default:
					c.wg.Go(func() { c.read(conn) }) // ends with its connection
				}
			}
		})
	}
	wg.Wait()
	b.say("  (the last connect came after %.1f s; %d handshakes failed)", time.Since(began).Seconds(), failed.Load())
	return nil
}

// garbage is clients that send what no client should, and come back.
func (b *bench) garbage(ctx context.Context, c *crowd, _ *atomic.Int64) error {
	ctx, cancel := context.WithTimeout(ctx, b.size.runFor)
	defer cancel()
	var wg sync.WaitGroup
	for i := range b.size.some / 20 {
		wg.Go(func() { // ends with ctx
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			for ctx.Err() == nil {
				conn, err := c.dial(ctx, &wish{path: "/api/v1/ws", buffer: 1 << 10})
				if err != nil {
					return
				}
				messages, m := 1000, []byte(`{"op":"pong"}`)
				switch i % 3 {
				case 1:
					messages, m = 25, make([]byte, 200)
					for k := range m {
						m[k] = byte(rng.IntN(256))
					}
				case 2:
					messages, m = 1, make([]byte, 70_000)
				}
				for n := 0; n < messages && conn.WriteMessage(websocket.BinaryMessage, m) == nil; n++ {
				}
				_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
				for {
					if _, _, err := conn.ReadMessage(); err != nil {
						break
					}
				}
				_ = conn.Close()
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	return nil
}
