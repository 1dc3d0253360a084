package stream_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// asyncapi is the committed document.
func asyncapi() (map[string]any, error) {
	b, err := os.ReadFile("asyncapi.yaml")
	if err != nil {
		return nil, err
	}
	var doc map[string]any
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	if b, err = json.Marshal(doc); err != nil {
		return nil, err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	doc, _ = v.(map[string]any)
	return doc, err
}

// payloads are the schemas of all messages that come from the server, by op, and of those that go to it.
var payloads = sync.OnceValues(func() (map[string][]*jsonschema.Schema, error) {
	doc, err := asyncapi()
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7) // AsyncAPI's dialect
	c.AssertFormat()
	if err := c.AddResource("asyncapi.json", doc); err != nil {
		return nil, err
	}
	out := map[string][]*jsonschema.Schema{}
	for op, names := range map[string][]string{
		"subscribed": {"Subscribed"}, "unsubscribed": {"Unsubscribed"}, "pong": {"Pong"}, "token": {"Renewed"}, "error": {"Error"}, "closing": {"Closing"},
		"snapshot": {"RobotsSnapshot", "ZonesSnapshot", "TasksSnapshot", "AlertsSnapshot", "CongestionSnapshot"}, "delta": {"RobotsDelta", "ZonesDelta", "TasksDelta", "AlertsDelta", "CongestionDelta"},
		"to the server": {"Subscribe", "Unsubscribe", "Ping", "PongOfClient", "Token"},
	} {
		for _, name := range names {
			s, err := c.Compile("asyncapi.json#/components/schemas/" + name)
			if err != nil {
				return nil, err
			}
			out[op] = append(out[op], s)
		}
	}
	return out, nil
})

// documented holds a message against the document: one of the schemas of its op must fit.
func documented(op string, b []byte) error {
	all, err := payloads()
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return err
	}
	err = io.ErrUnexpectedEOF // no such op
	for _, s := range all[op] {
		if err = s.Validate(v); err == nil {
			return nil
		}
	}
	return err
}

// checker holds what clients are told against the document: all at first, and then, of what comes in masses, samples.
type checker struct {
	mu sync.Mutex
	of map[string]int
}

func (c *checker) check(g *rig, op string, b []byte) {
	c.mu.Lock()
	if c.of == nil {
		c.of = map[string]int{}
	}
	n := c.of[op]
	c.of[op]++
	c.mu.Unlock()
	if len(b) > 32<<10 && n > 0 || n >= 10 && n%100 > 0 {
		return
	}
	if err := documented(op, b); err != nil {
		g.Errorf("%.400s\nis not what asyncapi.yaml says: %v", b, err)
	}
}

func TestTheDocumentHangsTogether(t *testing.T) {
	t.Parallel()
	doc, err := asyncapi()
	if err != nil {
		t.Fatal(err)
	}
	if doc["asyncapi"] != "3.0.0" {
		t.Errorf("asyncapi: %v", doc["asyncapi"])
	}
	refs := 0
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if to, ok := v["$ref"].(string); ok {
				if refs++; !leads(doc, to) {
					t.Errorf("%s leads nowhere", to)
				}
			}
			for _, x := range v {
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	if walk(doc); refs < 100 {
		t.Errorf("%d references", refs)
	}
	if _, err := payloads(); err != nil {
		t.Error(err)
	}
	for message, fits := range map[string]bool{
		`{"op":"subscribe","id":1,"channel":"robots","filter":{"rect":[0,0,1,1]},"rate_hz":2,"since":{"epoch":"e","seq":4}}`: true,
		`{"op":"subscribe","id":1,"channel":"robots","filter":{"warehous_id":"x"}}`:                                          false,
		`{"op":"subscribe","id":0,"channel":"robots"}`:                                                                       false,
		`{"op":"ping","t":[1]}`:       true,
		`{"op":"token"}`:              false,
		`{"op":"unsubscribe","id":7}`: true,
	} {
		if err := documented("to the server", []byte(message)); (err == nil) != fits {
			t.Errorf("%s: %v", message, err)
		}
	}
}

// leads follows a reference within the document.
func leads(doc map[string]any, to string) bool {
	at := any(doc)
	for _, name := range bytes.Split([]byte(to), []byte("/"))[1:] {
		m, ok := at.(map[string]any)
		if !ok {
			return false
		}
		if at, ok = m[string(name)]; !ok {
			return false
		}
	}
	return true
}

func TestTheDocumentIsServed(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	res, err := http.Get(g.http.URL + "/asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	served, _ := io.ReadAll(res.Body)
	kept, err := os.ReadFile("asyncapi.yaml")
	if err != nil || !bytes.Equal(served, kept) || res.Header.Get("Content-Type") != "application/yaml" {
		t.Errorf("%s: %d bytes, want %d (%v)", res.Header.Get("Content-Type"), len(served), len(kept), err)
	}
}
