package outbox

import (
	"context"
	"errors"
	"time"
)

// ErrRefused: the brokers will never take this message; others may pass. A sink's errors wrap it.
var ErrRefused = errors.New("message refused")

// Event is a recorded fact that has not been sent.
type Event struct {
	EventID, TenantID, AggregateType, AggregateID, Topic, Key string

	Payload     []byte // starling.events.v1.Envelope
	Traceparent string
	Attempts    int // refusals so far
	CreatedAt   time.Time
	Parked      bool // an earlier fact of its aggregate is a dead letter
}

// Lag is what waits of a topic in a shard; Pending may stop counting at a bound.
type Lag struct {
	Topic   string
	Pending int
	Age     time.Duration
}

// Wait is an aggregate that must be left alone until a time.
type Wait struct {
	AggregateID string
	Until       time.Time
}

// Store keeps the facts. What it changes is only what has not been sent.
type Store interface {
	// Claim returns facts of the shard, at most so many of each topic, in order within an aggregate, without those of some
	// aggregates and without those that are held.
	Claim(ctx context.Context, shard int, topics, except []string, atMost int) ([]Event, error)
	Sent(ctx context.Context, events []Event) error
	// Hold takes facts of parked aggregates out of Claim's sight until their dead letter has been decided; not those whose
	// letter has been decided by now.
	Hold(ctx context.Context, events []Event) error
	// Refuse counts a refusal.
	Refuse(ctx context.Context, e *Event, cause string, next time.Time) error
	// Bury makes a fact a dead letter, which parks its aggregate.
	Bury(ctx context.Context, e *Event, eventType, cause string) error
	// Handle does what people have decided about some dead letters and returns how many; 0 = there are no more.
	Handle(ctx context.Context, shard int) (int, error)
	Waiting(ctx context.Context, shard, atMost int) ([]Wait, error)
	// Pending says where there is something to send, and in which shards people have decided something.
	Pending(ctx context.Context) (topics map[int][]string, asked []int, err error)
	// Lag also counts the dead letters of each topic that nobody has dealt with.
	Lag(ctx context.Context, shards []int, topics []string) (lag []Lag, parked map[string]int, err error)
	// Tidy forgets what is over, and frees what is held behind no dead letter.
	Tidy(ctx context.Context) error
	// Listen calls heard with a mask of shards whenever another process has left something there, until ctx is done.
	Listen(ctx context.Context, heard func(shards uint16))
}

// Locks make a process the only one that pumps a shard. They may be lost at any time; that costs doubles and no more.
type Locks interface {
	Try(ctx context.Context, shard int) (bool, error)
	Held(shard int) bool
	Release(ctx context.Context, shard int) error
	// Workers counts the processes that pump, this one included.
	Workers(ctx context.Context) (int, error)
	// Others counts the processes that pump, after Close: this one is none of them until it asks for something again.
	Others(ctx context.Context) (int, error)
	// Close gives all shards back.
	Close(ctx context.Context)
}

// Header is a message's header.
type Header struct {
	Key   string
	Value string
}

// Message is what goes to the brokers, with the present as its time.
type Message struct {
	Topic, Key, TenantID string

	Value   []byte
	Headers []Header
}

// Sink takes messages. Publish returns when each is kept (nil), refused (ErrRefused) or its fate is not known; it bounds its
// own time.
type Sink interface {
	Publish(ctx context.Context, messages []Message) []error
	// Ping says whether the brokers answer.
	Ping(ctx context.Context) error
}
