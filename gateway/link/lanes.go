package link

import (
	"context"
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
	if t.orders[handle] == nil {
		t.orderly = append(t.orderly, handle)
	}
	t.orders[handle] = o
	t.mu.Unlock()
	t.nudge()
	return true
}

func (t *stream) putCommand(c *linkv1.Command) bool {
	t.mu.Lock()
	full := len(t.commands) >= maxCommands
	if !full {
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
				return status.Error(codes.Unavailable, m.GetClosing().GetReason())
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
		return &linkv1.Downlink{Frame: &linkv1.Downlink_Welcome{Welcome: w}}, false
	case len(t.commands) > 0:
		b := &linkv1.CommandBatch{Commands: t.commands}
		t.commands = nil
		return &linkv1.Downlink{Frame: &linkv1.Downlink_Commands{Commands: b}}, false
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
		for h, n := range t.highWater {
			w.Handle, w.ProgressNumber = append(w.Handle, h), append(w.ProgressNumber, n)
			delete(t.highWater, h)
			if len(w.Handle) == maxHighWaters {
				break
			}
		}
		return &linkv1.Downlink{Frame: &linkv1.Downlink_HighWater{HighWater: w}}, false
	}
	return nil, false
}
