package fact

import (
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"starling/engine/fleet"
)

// Topic is what a webhook may be told of; the words are those of the live channel.
type Topic string

// The topics: an alert is congestion's where its subject is a zone or a lane.
const (
	TopicCongestion Topic = "congestion_alert"
	TopicAlert      Topic = "alert"
)

// Topics lists them.
func Topics() []Topic { return []Topic{TopicCongestion, TopicAlert} }

// Webhook is where a tenant wants to be told of alerts, as its settings say. It prints as its name alone: the URL of many
// receivers is a secret itself.
type Webhook struct {
	Name     string
	URL      string
	MinLevel int     // 1..3
	Topics   []Topic // never empty
	Off      bool
	key      []byte
}

// NewWebhook makes one; secret is what its signatures are made with: whsec_ and base64, which stands for the bytes, or any
// other text, which stands for itself.
func NewWebhook(name, url, secret string) Webhook {
	key := []byte(secret)
	if coded, ok := strings.CutPrefix(secret, "whsec_"); ok {
		if raw, err := base64.StdEncoding.DecodeString(coded); err == nil {
			key = raw
		}
	}
	return Webhook{Name: name, URL: url, MinLevel: 1, Topics: Topics(), key: key}
}

// Key is what signatures are made with.
func (w Webhook) Key() []byte { return w.key }

// Format writes the name, whatever the verb.
func (w Webhook) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "webhook "+w.Name) // fmt.State cannot report an error
}

// Wants says whether it is to be told of an alert.
func (w Webhook) Wants(t Topic, level int) bool {
	return !w.Off && level >= w.MinLevel && slices.Contains(w.Topics, t)
}

// DeliveryState is what has become of a delivery.
type DeliveryState string

// The states of deliveries.
const (
	DeliveryPending DeliveryState = "pending" // still to be made, or to be tried again
	DeliverySent    DeliveryState = "sent"    // the receiver has answered 2xx
	DeliveryDead    DeliveryState = "dead"    // given up after all tries
	DeliveryDropped DeliveryState = "dropped" // its webhook is gone, off or disabled
)

// DeliveryStates lists them.
func DeliveryStates() []DeliveryState {
	return []DeliveryState{DeliveryPending, DeliverySent, DeliveryDead, DeliveryDropped}
}

// Delivery is one message to one webhook. Its id stays the same over all tries: receivers know repetitions by it.
type Delivery struct {
	Tenant    fleet.TenantID
	ID        string // uuid
	Hook      string // its name
	Alert     string // uuid
	Event     string // what the message tells of: alert.open, alert.acknowledge, …, test
	Body      []byte // what is sent; empty in lists
	State     DeliveryState
	Attempts  int
	Next      time.Time // when it is due, of a pending one
	Status    int       // of the last answer, 0 = there was none
	Cause     string    // why the last try failed
	CreatedAt time.Time
	DoneAt    time.Time // zero = pending
}

// DeliveryFilter narrows a list; zero values narrow nothing.
type DeliveryFilter struct {
	Hook  string
	State DeliveryState
}

// HookState is how a webhook does.
type HookState struct {
	Hook       string
	Since      time.Time // since when it is told
	Failures   int       // deliveries in a row that were given up
	DisabledAt time.Time // zero = it is not: too many failures, or its receiver has answered 410
	LastSentAt time.Time // zero = nothing yet
}

// Untold is a step of an alert that a webhook has not been told of.
type Untold struct {
	Handling string // uuid of the step
	Alert    string // uuid
	Seq      int64  // the alert's version after it
}

// Tried is what a try to deliver has brought.
type Tried struct {
	Delivery string
	Hook     string
	State    DeliveryState // what it is now: pending = it is tried again
	Status   int           // of the answer, 0 = there was none
	Cause    string        // "" = it went well
	Again    time.Duration // until the next try
	Gone     bool          // the receiver wants no more
}
