package actors

import (
	"log/slog"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// crashWindow is how long a panic counts against its actor.
const crashWindow = 30 * time.Second

// supervisor restarts what panicked: the actor loads its state anew, the message that did it is not delivered
// again. An actor that goes on panicking comes back ever more slowly (see crashes); none is given up, since a zone
// must live as long as its warehouse.
type supervisor struct{ sys *System }

var _ actor.SupervisorStrategy = (*supervisor)(nil)

// HandleFailure implements actor.SupervisorStrategy.
func (s *supervisor) HandleFailure(_ *actor.ActorSystem, parent actor.Supervisor, child *actor.PID,
	_ *actor.RestartStatistics, reason, _ any,
) {
	name := "placement"
	attrs := []slog.Attr{slog.String("event", "actor.panic"), slog.String("actor", child.Id)}
	if c, ok := reason.(*crash); ok {
		name = c.kind.String()
		attrs = append(attrs, slog.String("error", c.reason), slog.String("message", c.message),
			slog.String("stack", string(c.stack)))
	} else {
		attrs = append(attrs, slog.Any("error", reason))
	}
	s.sys.metrics.panics.WithLabelValues(name).Inc()
	s.sys.log.LogAttrs(s.sys.ctx, slog.LevelError, "actor panicked", attrs...)
	parent.RestartChildren(child)
}

// crashes remembers who panicked lately: bounded by the actors in memory.
type crashes struct {
	mu sync.Mutex
	by map[*box][]time.Time
}

func (c *crashes) note(b *box, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[*box][]time.Time{}
	}
	list := c.by[b]
	if len(list) >= 16 {
		list = list[1:]
	}
	c.by[b] = append(list, now)
}

// recent counts b's panics within the window.
func (c *crashes) recent(b *box, now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, at := range c.by[b] {
		if now.Sub(at) < crashWindow {
			n++
		}
	}
	if n == 0 {
		delete(c.by, b)
	}
	return n
}

func (c *crashes) forget(b *box) {
	c.mu.Lock()
	delete(c.by, b)
	c.mu.Unlock()
}
