package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"starling/engine/alert"
	"starling/engine/fleet"
	"starling/gateway/auth"
)

// wish is any message of a client.
type wish struct {
	Op      string          `json:"op"`
	ID      *int64          `json:"id"`
	Channel string          `json:"channel"`
	Filter  *filterWish     `json:"filter"`
	RateHz  *float64        `json:"rate_hz"`
	Since   *sinceWish      `json:"since"`
	Detail  bool            `json:"detail"`
	Token   string          `json:"token"`
	T       json.RawMessage `json:"t"`
}

type filterWish struct {
	WarehouseID string    `json:"warehouse_id"`
	RobotIDs    []string  `json:"robot_ids"`
	TaskIDs     []string  `json:"task_ids"`
	Rect        []float64 `json:"rect"`
	MinLevel    string    `json:"min_level"`
}

type sinceWish struct {
	Epoch string `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// handle takes one message of the client.
func (x *session) handle(b []byte) {
	if x.ended.Load() {
		return
	}
	if !x.allowed(time.Now()) {
		x.close(closeFlood, "too_many_messages", 5000)
		return
	}
	var w wish
	if bad := decode(b, &w); bad != nil {
		x.refuse(w.ID, bad)
		x.mu.Lock()
		x.bad++
		over := x.bad >= maxBad
		x.mu.Unlock()
		if over {
			x.close(closeBad, "bad_messages", 5000)
		}
		return
	}
	switch w.Op {
	case "ping":
		if len(w.T) > 256 {
			x.refuse(w.ID, unfit("t", "too long"))
			return
		}
		if w.T == nil {
			w.T = json.RawMessage("null")
		}
		x.answer("pong", map[string]any{"op": "pong", "t": w.T, "now": stamp(time.Now())})
	case "pong":
	case "subscribe":
		s, bad := x.newSub(&w)
		if bad == nil {
			bad = x.subscribe(s)
		}
		if bad != nil {
			x.refuse(w.ID, bad)
		}
	case "unsubscribe":
		x.unsubscribe(w.ID)
	case "token":
		x.renew(w.Token)
	default:
		x.refuse(w.ID, unfit("op", "want subscribe, unsubscribe, ping, pong or token"))
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// decode reads a message; what it does not know is a fault: a filter that is passed over shows too much.
func decode(b []byte, w *wish) *refusal {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode(w)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more than one value")
		}
	}
	if err == nil {
		return nil
	}
	f := field{"message", "not readable as JSON"}
	var typed *json.UnmarshalTypeError
	if errors.As(err, &typed) && typed.Field != "" {
		f = field{typed.Field, "not of the wanted type"}
	} else if strings.Contains(err.Error(), "unknown field") {
		f.Problem = "has a field that is not known here"
	}
	return &refusal{code: "INVALID_ARGUMENT", message: "the message is not readable", fields: []field{f}}
}

func unfit(name, problem string) *refusal {
	return &refusal{code: "INVALID_ARGUMENT", message: "the message is invalid", fields: []field{{name, problem}}}
}

// refuse answers a message that cannot be followed.
func (x *session) refuse(id *int64, bad *refusal) {
	m := map[string]any{"op": "error", "error": bad.body(x.requestID)}
	if id != nil {
		m["id"] = *id
	}
	x.answer("error", m)
}

func (x *session) unsubscribe(id *int64) {
	if id == nil || *id < 1 || *id > math.MaxInt32 {
		x.refuse(id, unfit("id", "want 1..2147483647"))
		return
	}
	x.mu.Lock()
	s := x.subs[uint32(*id)]
	delete(x.subs, uint32(*id))
	x.mu.Unlock()
	if s == nil {
		x.refuse(id, &refusal{code: "NOT_FOUND", message: "there is no such subscription"})
		return
	}
	x.hub.drop(s)
	x.answer("unsubscribed", map[string]any{"op": "unsubscribed", "id": *id})
}

// renew takes a newer token: of the same subject, for the same tenant. One that has ended is refused, and the connection
// goes on with the one that it has.
func (x *session) renew(token string) {
	ask := auth.Ask{Token: token, TenantIDs: []string{string(x.tenant)}}
	who, bad := x.srv.check(context.Background(), ask, x.srv.o.Auth.Policy().Rule("GET /api/v1/ws"))
	if bad == nil && expired(who) {
		bad = noToken()
	}
	x.mu.Lock()
	before := x.who
	if bad == nil && (who.Subject != before.Subject || who.Issuer != before.Issuer) {
		bad = notAllowed()
	}
	if bad == nil {
		x.who = who
		x.watchExpiry()
	}
	x.mu.Unlock()
	if bad != nil {
		x.renewed(before, bad.err())
		x.refuse(nil, bad)
		return
	}
	x.renewed(who, nil)
	x.answer("token", map[string]any{"op": "token", "expires_at": stamp(who.Expires)})
}

func (x *session) renewed(who *auth.Identity, err error) {
	if f := x.srv.o.Renewed; f != nil {
		f(who, x.requestID, err)
	}
}

// rates are how often state may be sent, in tenths of a hertz: few, so that subscriptions share their frames.
var rates = [...]int{1, 2, 5, 10, 20, 50, 100}

// faults gathers all that is wrong with a subscription.
type faults []field

func (f *faults) add(name, format string, args ...any) {
	*f = append(*f, field{name, fmt.Sprintf(format, args...)})
}

// mayWatch says whether the token in force may subscribe to a channel.
func (x *session) mayWatch(c channel) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.srv.rules[c].Allows(x.who)
}

// newSub checks a wish to subscribe.
func (x *session) newSub(w *wish) (*sub, *refusal) {
	var f faults
	s := &sub{session: x, rate: 10, detail: w.Detail}
	if w.ID == nil || *w.ID < 1 || *w.ID > math.MaxInt32 {
		f.add("id", "want 1..2147483647")
	} else {
		s.id = uint32(*w.ID)
	}
	s.channel = channel(w.Channel)
	if !slices.Contains(channels[:], s.channel) {
		f.add("channel", "want robots, tasks, zones, congestion or alerts")
	} else if !x.mayWatch(s.channel) {
		return nil, notAllowed()
	}
	if w.RateHz != nil {
		if r := *w.RateHz; !(r >= 0.1 && r <= 10) {
			f.add("rate_hz", "want 0.1..10")
		} else {
			for _, have := range rates {
				if float64(have) <= r*10+1e-9 {
					s.rate = have
				}
			}
		}
	}
	if w.Since != nil {
		s.since = *w.Since
	}
	if w.Filter != nil {
		s.filterBy(w.Filter, &f)
	}
	if w.Detail && (s.channel != chanRobots || len(s.robots) == 0 || len(s.robots) > maxDetailed) {
		f.add("detail", "goes with 1..%d robot_ids", maxDetailed)
	}
	if len(f) > 0 {
		return nil, &refusal{code: "INVALID_ARGUMENT", message: "the message is invalid", fields: f}
	}
	return s, nil
}

func (s *sub) filterBy(w *filterWish, f *faults) {
	if w.WarehouseID != "" && !isUUID(w.WarehouseID) {
		f.add("filter.warehouse_id", "want a uuid")
	}
	s.warehouse = fleet.WarehouseID(strings.ToLower(w.WarehouseID))
	if w.RobotIDs != nil {
		if s.channel != chanRobots {
			f.add("filter.robot_ids", "goes with the channel robots")
		}
		s.robots = setOf(ids("filter.robot_ids", w.RobotIDs, f))
	}
	if w.TaskIDs != nil {
		if s.channel != chanTasks {
			f.add("filter.task_ids", "goes with the channel tasks")
		}
		s.tasks = map[fleet.TaskID]bool{}
		for _, id := range ids("filter.task_ids", w.TaskIDs, f) {
			s.tasks[fleet.TaskID(id)] = true
		}
	}
	if w.Rect != nil {
		s.rect = &rect{}
		switch {
		case s.channel != chanRobots || s.warehouse == "":
			f.add("filter.rect", "goes with the channel robots and a warehouse_id")
		case len(w.Rect) != 4 || slices.ContainsFunc(w.Rect, func(v float64) bool { return !(math.Abs(v) <= 1e6) }):
			f.add("filter.rect", "want [x0,y0,x1,y1] in metres, each within a million")
		default:
			*s.rect = rect{min(w.Rect[0], w.Rect[2]), min(w.Rect[1], w.Rect[3]), max(w.Rect[0], w.Rect[2]), max(w.Rect[1], w.Rect[3])}
		}
	}
	if w.MinLevel != "" {
		var ok bool
		if s.alerts.least, ok = alert.ParseLevel(w.MinLevel); !ok || s.channel != chanAlerts {
			f.add("filter.min_level", "want L1, L2 or L3, with the channel alerts")
		}
	}
}

func ids(name string, in []string, f *faults) []string {
	if len(in) == 0 || len(in) > maxIDs {
		f.add(name, "want 1..%d ids", maxIDs)
		return nil
	}
	out := make([]string, len(in))
	for i, id := range in {
		if !isUUID(id) {
			f.add(fmt.Sprintf("%s[%d]", name, i), "want a uuid")
			return nil
		}
		out[i] = strings.ToLower(id)
	}
	return out
}

// idSet is ids in ascending order: sixteen bytes each, for they are kept as long as the subscription is.
type idSet [][16]byte

func setOf(ids []string) idSet {
	s := make(idSet, len(ids))
	for i, id := range ids {
		s[i] = keyOf(id)
	}
	slices.SortFunc(s, compareKeys)
	return slices.Compact(s)
}

func (s idSet) has(key [16]byte) bool {
	_, ok := slices.BinarySearchFunc(s, key, compareKeys)
	return ok
}

func compareKeys(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) }

// keyOf is the bytes of a uuid, nought where it is none.
func keyOf(id string) [16]byte {
	u, _ := uuid.Parse(id)
	return u
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		if dash && c != '-' || !dash && !hex {
			return false
		}
	}
	return true
}
