package audit

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// A line of the journal is eight hexadecimal digits of the CRC-32 of what follows, a blank, the entry in JSON, and a line
// feed. A line that does not hold to it is torn.

const (
	sumLen = 8
	// lineBound is the longest line that is read as one.
	lineBound = 256 << 10
)

type line struct {
	ID           string          `json:"id"`
	At           time.Time       `json:"at"`
	Tenant       string          `json:"tenant,omitempty"`
	User         string          `json:"user,omitempty"`
	Subject      string          `json:"subject,omitempty"`
	Action       string          `json:"action,omitempty"`
	ResourceType string          `json:"resource_type,omitempty"`
	ResourceID   string          `json:"resource_id,omitempty"`
	RequestID    string          `json:"request_id,omitempty"`
	TraceID      string          `json:"trace_id,omitempty"`
	Method       string          `json:"method,omitempty"`
	Path         string          `json:"path,omitempty"`
	Status       int             `json:"status"`
	Nanos        int64           `json:"ns"`
	ClientIP     string          `json:"ip,omitempty"`
	UserAgent    string          `json:"agent,omitempty"`
	Details      json.RawMessage `json:"details,omitempty"`
}

// appendLine adds an entry as a line.
func appendLine(to []byte, e *fact.AuditEntry) ([]byte, error) {
	body, err := json.Marshal(line{
		ID: e.ID, At: e.At, Tenant: string(e.Tenant), User: string(e.User), Subject: e.Subject, Action: e.Action,
		ResourceType: e.ResourceType, ResourceID: e.ResourceID, RequestID: e.RequestID, TraceID: e.TraceID, Method: e.Method,
		Path: e.Path, Status: e.Status, Nanos: int64(e.Duration), ClientIP: e.ClientIP, UserAgent: e.UserAgent, Details: e.Details,
	})
	if err != nil {
		return to, fmt.Errorf("write an audit entry as JSON: %w", err)
	}
	return fmt.Appendf(to, "%08x %s\n", crc32.ChecksumIEEE(body), body), nil
}

// parse reads a segment; torn is told of each line that says nothing.
func parse(content []byte, torn func(bytes int)) (entries []fact.AuditEntry) {
	for len(content) > 0 {
		raw := content
		end := bytes.IndexByte(content, '\n')
		if end < 0 {
			content = nil
		} else {
			raw, content = content[:end], content[end+1:]
		}
		e, ok := readLine(raw)
		if !ok || end < 0 {
			torn(len(raw))
			continue
		}
		entries = append(entries, e)
	}
	return entries
}

func readLine(raw []byte) (e fact.AuditEntry, ok bool) {
	if len(raw) <= sumLen+1 || len(raw) > lineBound || raw[sumLen] != ' ' {
		return e, false
	}
	var sum [sumLen / 2]byte
	if _, err := hex.Decode(sum[:], raw[:sumLen]); err != nil {
		return e, false
	}
	body := raw[sumLen+1:]
	want := uint32(sum[0])<<24 | uint32(sum[1])<<16 | uint32(sum[2])<<8 | uint32(sum[3])
	var l line
	if crc32.ChecksumIEEE(body) != want || json.Unmarshal(body, &l) != nil {
		return e, false
	}
	if y := l.At.UTC().Year(); y < 0 || y > 9999 { // it could not be written again: its zone shifts it out of what RFC 3339 holds
		return e, false
	}
	return fact.AuditEntry{
		ID: l.ID, At: l.At, Tenant: fleet.TenantID(l.Tenant), User: fleet.UserID(l.User), Subject: l.Subject, Action: l.Action,
		ResourceType: l.ResourceType, ResourceID: l.ResourceID, RequestID: l.RequestID, TraceID: l.TraceID, Method: l.Method,
		Path: l.Path, Status: l.Status, Duration: time.Duration(l.Nanos), ClientIP: l.ClientIP, UserAgent: l.UserAgent, Details: l.Details,
	}, true
}
