package link

import (
	"context"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	linkv1 "starling/proto/gen/starling/link/v1"
)

func (t *stream) nudge() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *stream) putOrder(handle uint32, o *linkv1.Order) bool {
	t.mu.Lock()
	switch {
	case t.orders[handle] != nil:
	case handle > t.known:
		t.early = append(t.early, handle)
	default:
		t.orderly = append(t.orderly, handle)
	}
	t.orders[handle] = o
	t.mu.Unlock()
	t.nudge()
	return true
}

func (t *stream) putCommand(c *linkv1.Command) bool {
	t.mu.Lock()
	full := len(t.commands)+len(t.unknown) >= maxCommands
	switch {
	case full:
	case c.Handle > t.known:
		t.unknown = append(t.unknown, c)
	default:
		t.commands = append(t.commands, c)
	}
	t.mu.Unlock()
	if full {
		t.server.metrics.dropped.WithLabelValues("commands").Inc()
		return false
	}
	t.nudge()
	return true
}

func (t *stream) putHighWater(handle uint32, number uint64) {
	t.mu.Lock()
	t.highWater[handle] = max(t.highWater[handle], number)
	t.mu.Unlock()
	t.nudge()
}

func (t *stream) close(c *linkv1.Closing) {
	t.mu.Lock()
	t.closing = c
	t.mu.Unlock()
	t.nudge()
}

func (t *stream) ending() codes.Code {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.over
}

// write sends what waits, the most important first: welcomes (they make handles known), commands, orders, high water.
func (t *stream) write(ctx context.Context) error {
	pause := time.NewTimer(0)
	<-pause.C
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.wake:
		}
		for {
			m, last := t.next()
			if m == nil {
				break
			}
			if err := t.send(m); err != nil {
				return err
			}
			if last {
				return status.Error(t.ending(), m.GetClosing().GetReason())
			}
		}
		pause.Reset(gather)
		<-pause.C
	}
}

func (t *stream) send(m *linkv1.Downlink) error {
	t.mu.Lock()
	t.sending = time.Now()
	t.mu.Unlock()
	err := t.ss.Send(m)
	t.mu.Lock()
	t.sending = time.Time{}
	t.mu.Unlock()
	return err
}

// next takes the next frame; last says that the stream ends with it.
func (t *stream) next() (m *linkv1.Downlink, last bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case len(t.welcomes) > 0:
		w := t.welcomes[0]
		t.welcomes = t.welcomes[1:]
		t.introduce(uint32(len(w.Robots)))
		return &linkv1.Downlink{Frame: &linkv1.Downlink_Welcome{Welcome: w}}, false
	case len(t.commands) > 0:
		b := &linkv1.CommandBatch{Commands: t.commands}
		t.commands = nil
		return &linkv1.Downlink{Frame: &linkv1.Downlink_Commands{Commands: b}}, false
	case t.sampling != nil:
		m := t.sampling
		t.sampling = nil
		t.askAgain()
		return &linkv1.Downlink{Frame: &linkv1.Downlink_Sampling{Sampling: m}}, false
	case t.closing != nil:
		return &linkv1.Downlink{Frame: &linkv1.Downlink_Closing{Closing: t.closing}}, true
	case len(t.orderly) > 0:
		n := min(len(t.orderly), ordersAFrame)
		b := &linkv1.OrderBatch{Orders: make([]*linkv1.Order, 0, n)}
		for _, h := range t.orderly[:n] {
			b.Orders = append(b.Orders, t.orders[h])
			delete(t.orders, h)
		}
		t.orderly = append(t.orderly[:0], t.orderly[n:]...)
		return &linkv1.Downlink{Frame: &linkv1.Downlink_Orders{Orders: b}}, false
	case len(t.highWater) > 0:
		w := &linkv1.HighWater{}
		for _, h := range slices.Sorted(maps.Keys(t.highWater)) {
			n := t.highWater[h]
			w.Handle, w.ProgressNumber = append(w.Handle, h), append(w.ProgressNumber, n)
			delete(t.highWater, h)
			if len(w.Handle) == maxHighWaters {
				break
			}
		}
		return &linkv1.Downlink{Frame: &linkv1.Downlink_HighWater{HighWater: w}}, false
	}
	if m := t.nextWish(); m != nil {
		return &linkv1.Downlink{Frame: &linkv1.Downlink_Sampling{Sampling: m}}, false
	}
	return nil, false
}

// introduce lets out what waited for the welcome of the next n handles. t.mu is held.
func (t *stream) introduce(n uint32) {
	for h := t.known + 1; h <= t.known+n && int(h) <= len(t.wishes); h++ {
		t.ask(h)
	}
	t.known += n
	early, unknown := t.early, t.unknown
	t.early, t.unknown = nil, nil
	for _, h := range early {
		if h > t.known {
			t.early = append(t.early, h)
		} else {
			t.orderly = append(t.orderly, h)
		}
	}
	for _, c := range unknown {
		if c.Handle > t.known {
			t.unknown = append(t.unknown, c)
		} else {
			t.commands = append(t.commands, c)
		}
	}
}
