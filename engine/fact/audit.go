package fact

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The bounds of an audit entry's texts, in bytes. Most are what a client sent: they are cut, not refused, so that an
// entry is kept whatever the client chose.
const (
	auditSubject   = 255
	auditAction    = 100
	auditResource  = 64
	auditID        = 200
	auditMethod    = 16
	auditPath      = 1024
	auditAgent     = 300
	auditDetails   = 8 << 10
	auditText      = 1024 // of one string within Details
	auditDepth     = 8    // of Details
	auditNumberLen = 40
)

// Bounded returns the entry as any store can keep it: texts cut to their bounds, valid UTF-8 without NUL; Details a JSON
// object of bounded size and depth; At to the microsecond, in UTC. It is idempotent. ID, Tenant and User are left alone.
func (e AuditEntry) Bounded() AuditEntry {
	e.At = e.At.UTC().Truncate(time.Microsecond)
	e.Subject, e.Action = cut(e.Subject, auditSubject), cut(e.Action, auditAction)
	e.ResourceType, e.ResourceID = cut(e.ResourceType, auditResource), cut(e.ResourceID, auditID)
	e.RequestID, e.TraceID = cut(e.RequestID, auditID), cut(e.TraceID, auditID)
	e.Method, e.Path = cut(e.Method, auditMethod), cut(e.Path, auditPath)
	e.ClientIP, e.UserAgent = cut(e.ClientIP, auditResource), cut(e.UserAgent, auditAgent)
	e.Status = max(0, min(e.Status, 1<<15))
	e.Duration = max(0, e.Duration)
	e.Details = boundedDetails(e.Details)
	return e
}

// cut shortens a text to n bytes, at the border of a character, and takes out what no store of text keeps.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
		for i := 1; i < utf8.UTFMax && i <= len(s); i++ { // a character that was cut in two goes as a whole
			if c := s[len(s)-i]; utf8.RuneStart(c) {
				if !utf8.FullRuneInString(s[len(s)-i:]) {
					s = s[:len(s)-i]
				}
				break
			}
		}
	}
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "?")
	return s[:min(len(s), n)]
}

func boundedDetails(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 || string(raw) == "{}" || string(raw) == "null" {
		return nil
	}
	if len(raw) > auditDetails {
		return json.RawMessage(`{"cut":` + strconv.Itoa(len(raw)) + `}`)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v map[string]any
	if d.Decode(&v) != nil || d.More() {
		return json.RawMessage(`{"unreadable":` + strconv.Itoa(len(raw)) + `}`)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if enc.Encode(boundedValue(v, auditDepth)) != nil || out.Len() > 2*auditDetails {
		return json.RawMessage(`{"cut":` + strconv.Itoa(len(raw)) + `}`)
	}
	if b := bytes.TrimSpace(out.Bytes()); string(b) != "{}" {
		return b
	}
	return nil
}

// boundedValue cleans what was read of JSON: a NUL, half a surrogate and a number beyond all bounds are valid there and
// refused by stores.
func boundedValue(v any, depth int) any {
	switch v := v.(type) {
	case string:
		return cut(v, auditText)
	case json.Number:
		if f, err := v.Float64(); err != nil || len(v) > auditNumberLen || f != f {
			return cut(string(v), auditNumberLen)
		}
	case []any:
		if depth == 0 {
			return nil
		}
		for i := range v {
			v[i] = boundedValue(v[i], depth-1)
		}
	case map[string]any:
		if depth == 0 {
			return nil
		}
		clean := make(map[string]any, len(v))
		for k, x := range v { // keys that become one are rare, and either value will do
			clean[cut(k, auditResource)] = boundedValue(x, depth-1)
		}
		return clean
	}
	return v
}
