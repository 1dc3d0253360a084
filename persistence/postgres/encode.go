package postgres

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
)

// How events, errands and decisions look in their JSON columns. Their names are part of the schema.

var errNotUUID = errors.New("want a uuid in lower-case canonical form")

type taskEventJSON struct {
	Robot     fleet.RobotID    `json:"robot_id,omitempty"`
	Decision  fleet.DecisionID `json:"decision_id,omitempty"`
	Errand    *int             `json:"errand,omitempty"`
	Reason    string           `json:"reason,omitempty"`
	Confirmed *bool            `json:"confirmed,omitempty"`
}

type errandJSON struct {
	Vertex fleet.Vertex `json:"vertex"`
	Place  string       `json:"place,omitempty"`
}

type costJSON struct {
	Travel   float64 `json:"travel"`
	Queue    float64 `json:"queue"`
	Battery  float64 `json:"battery"`
	Priority float64 `json:"priority"`
	Deadline float64 `json:"deadline,omitempty"`
	Total    float64 `json:"total"`
}

type assignments struct {
	Cost    *costJSON       `json:"cost,omitempty"`
	Before  fleet.RobotID   `json:"before,omitempty"`
	Because string          `json:"because,omitempty"`
	Robots  []fleet.RobotID `json:"robots,omitempty"`
}

type alternativeJSON struct {
	Robot  fleet.RobotID `json:"robot_id"`
	Total  float64       `json:"total"`
	Reason string        `json:"reason"`
}

// encodeTaskEvent names the event and says what it holds.
func encodeTaskEvent(e task.Event) (kind, payload string, err error) {
	var p taskEventJSON
	switch e := e.(type) {
	case task.Created:
		return "created", "{}", nil
	case task.Assigned:
		kind, p.Robot, p.Decision = "assigned", e.Robot, e.Decision.ID
	case task.Unassigned:
		kind, p.Robot, p.Reason = "unassigned", e.Robot, e.Reason
	case task.Started:
		return "started", "{}", nil
	case task.ErrandReached:
		kind, p.Errand = "errand_reached", &e.Errand
	case task.CancelStarted:
		kind, p.Reason = "cancel_started", e.Reason
	case task.Cancelled:
		kind, p.Reason, p.Confirmed = "cancelled", e.Reason, &e.Confirmed
	case task.Succeeded:
		return "succeeded", "{}", nil
	case task.Failed:
		kind, p.Reason = "failed", e.Reason
	}
	b, err := json.Marshal(p)
	return kind, string(b), err
}

// decodeTaskEvent is its inverse; what stands in rows of their own (the spec, the decision) is filled in by the caller.
func decodeTaskEvent(kind string, payload []byte) (task.Event, error) {
	var p taskEventJSON
	if err := json.Unmarshal(payload, &p); err != nil {
		return nil, fmt.Errorf("read the payload of %q: %w", kind, err)
	}
	errand, confirmed := 0, false
	if p.Errand != nil {
		errand = *p.Errand
	}
	if p.Confirmed != nil {
		confirmed = *p.Confirmed
	}
	switch kind {
	case "created":
		return task.Created{}, nil
	case "assigned":
		return task.Assigned{Robot: p.Robot, Decision: task.Decision{ID: p.Decision}}, nil
	case "unassigned":
		return task.Unassigned{Robot: p.Robot, Reason: p.Reason}, nil
	case "started":
		return task.Started{}, nil
	case "errand_reached":
		return task.ErrandReached{Errand: errand}, nil
	case "cancel_started":
		return task.CancelStarted{Reason: p.Reason}, nil
	case "cancelled":
		return task.Cancelled{Reason: p.Reason, Confirmed: confirmed}, nil
	case "succeeded":
		return task.Succeeded{}, nil
	case "failed":
		return task.Failed{Reason: p.Reason}, nil
	}
	return nil, fmt.Errorf("unknown task event %q", kind)
}

func encodeErrands(s *task.Spec) (string, error) {
	list := make([]errandJSON, len(s.Errands))
	for i, v := range s.Errands {
		list[i].Vertex = v
		if i < len(s.Places) {
			list[i].Place = s.Places[i]
		}
	}
	b, err := json.Marshal(list)
	return string(b), err
}

func decodeErrands(b []byte, s *task.Spec) error {
	var list []errandJSON
	if err := json.Unmarshal(b, &list); err != nil {
		return fmt.Errorf("read the errands of task %s: %w", s.ID, err)
	}
	named := false
	for _, e := range list {
		s.Errands = append(s.Errands, e.Vertex)
		s.Places = append(s.Places, e.Place)
		named = named || e.Place != ""
	}
	if !named {
		s.Places = nil
	}
	return nil
}

type argsJSON struct {
	Vertex *fleet.Vertex `json:"vertex,omitempty"`
	Place  string        `json:"place,omitempty"`
}

func encodeArgs(c *robot.Command) ([]byte, error) {
	a := argsJSON{Place: c.Place}
	if c.Vertex != fleet.NoVertex {
		a.Vertex = &c.Vertex
	}
	return json.Marshal(a)
}

func decodeArgs(b []byte) (vertex fleet.Vertex, place string, err error) {
	var a argsJSON
	if err := json.Unmarshal(b, &a); err != nil {
		return fleet.NoVertex, "", fmt.Errorf("read the arguments of a command: %w", err)
	}
	if a.Vertex == nil {
		return fleet.NoVertex, a.Place, nil
	}
	return *a.Vertex, a.Place, nil
}

type headersJSON struct {
	Location string `json:"Location,omitempty"`
}

func encodeHeaders(a *fact.Answer) (string, error) {
	b, err := json.Marshal(headersJSON{a.Location})
	return string(b), err
}

func decodeAnswer(status int32, headers, body []byte) (*fact.Answer, error) {
	var h headersJSON
	if err := json.Unmarshal(headers, &h); err != nil {
		return nil, fmt.Errorf("read the headers of a kept answer: %w", err)
	}
	return &fact.Answer{Status: int(status), Location: h.Location, Body: body}, nil
}

// isUUID says that s is a UUID in its canonical lower-case form.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}

// optional is nil for "".
func optional[S ~string](s S) *string {
	if s == "" {
		return nil
	}
	t := string(s)
	return &t
}

// given is "" for nil.
func given[S ~string](s *string) S {
	if s == nil {
		return ""
	}
	return S(*s)
}

// unlessZero is nil for the zero time.
func unlessZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// instant is the zero time for nil; times come back in UTC.
func instant(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
