//go:build integration

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"starling/bench/robots"
)

// jam is a small warehouse of its own in a running process, in which something stands in the way.
type jam struct {
	*testing.T
	p         *process
	uploads   *sync.Mutex // few maps may be uploaded at once
	c         *client
	name      string
	warehouse string
	mapID     string
	places    map[string]vertexItem
	ids       map[string]string // of robots, by what the jam calls them
	silence   map[string]func() // ends a robot's link and all it says
}

// whyAnswer is the body of a why.
type whyAnswer struct {
	Waiting bool       `json:"waiting"`
	Chain   []whyCause `json:"chain"`
}

type whyCause struct {
	Cause  string `json:"cause"`
	Level  string `json:"level"`
	Object struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	} `json:"object"`
	Text   string `json:"text"`
	Remedy *struct {
		Label   string          `json:"label"`
		Method  string          `json:"method"`
		Path    string          `json:"path"`
		Body    json.RawMessage `json:"body"`
		Allowed *bool           `json:"allowed"`
	} `json:"remedy"`
	Solves   bool     `json:"solves_itself"`
	Expected *float64 `json:"expected_s"`
}

// root is what a chain is to end with: remedy is "METHOD path", "" = none.
type root struct{ cause, kind, id, remedy string }

func newJam(t *testing.T, p *process, uploads *sync.Mutex, name string) *jam {
	t.Helper()
	j := &jam{T: t, p: p, uploads: uploads, c: newClient(p.URL, p.Token), name: name, places: map[string]vertexItem{}, ids: map[string]string{}, silence: map[string]func(){}}
	var out struct {
		ID string `json:"warehouse_id"`
	}
	j.must(http.MethodPost, "/api/v1/warehouses", map[string]any{"warehouse_code": name, "name": name, "timezone": "UTC"}, &out)
	j.warehouse = out.ID
	return j
}

// must makes a request that is to succeed.
func (j *jam) must(method, path string, body, out any) {
	j.Helper()
	if err := j.c.call(j.Context(), method, path, "", body, out); err != nil {
		j.Fatal(err)
	}
}

// floor uploads a grid; cells are called by their row-major number. active = it becomes the active map.
func (j *jam) floor(active bool, rows ...string) {
	j.Helper()
	text := fmt.Sprintf("type octile\nheight %d\nwidth %d\nmap\n%s\n", len(rows), len(rows[0]), strings.Join(rows, "\n"))
	j.upload("movingai", text, active)
}

func (j *jam) upload(format string, content any, active bool) {
	j.Helper()
	j.uploads.Lock()
	id, report, err := j.c.upload(j.Context(), j.warehouse, "floor", format, content, 1, active)
	j.uploads.Unlock()
	if err != nil {
		j.Fatalf("%v %s", err, report)
	}
	vs, err := j.c.vertices(j.Context(), id, 1)
	if err != nil {
		j.Fatal(err)
	}
	for _, v := range vs {
		j.places[v.ID] = v
	}
	j.mapID = id
}

// robot registers a virtual robot and lets it drive from a cell on, until the test ends or it is silenced.
func (j *jam) robot(name, cell string) {
	j.Helper()
	v, ok := j.places[cell]
	if !ok {
		j.Fatalf("no cell %s", cell)
	}
	j.register(name)
	j.run(name, robots.Robot{ID: j.ids[name], Code: name, Vertex: uint32(v.Index), X: v.X, Y: v.Y})
	j.until(name+" is online where it stands", func() bool {
		b := j.look(name)
		return b.Connection == "ONLINE" && (b.Vertex != "" || !ok)
	})
}

func (j *jam) register(name string) {
	j.Helper()
	id, err := registerOne(j.Context(), j.c, j.warehouse, j.name+"-"+name)
	if err != nil {
		j.Fatal(err)
	}
	j.ids[name] = id
}

func (j *jam) run(name string, r robots.Robot, faults ...robots.Fault) {
	j.Helper()
	f, err := robots.New(robots.Options{
		LinkAddr: j.p.Link, Token: j.p.Token, WarehouseID: j.warehouse, Robots: []robots.Robot{r}, Seed: 1, Faults: faults, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		j.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { f.Run(ctx) })
	j.silence[name] = func() {
		cancel()
		all.Wait()
	}
	j.Cleanup(j.silence[name])
}

// says lets a robot say over REST what its link does not: from now on that counts, until the test ends.
func (j *jam) says(name string, status func() map[string]any) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for seq := 1_000_000; ctx.Err() == nil; seq++ {
			body := status()
			body["seq"], body["ts"] = seq, time.Now().UTC().Format(time.RFC3339Nano)
			_ = j.c.call(ctx, http.MethodPost, "/api/v1/robots/"+j.ids[name]+"/status", "", body, nil)
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	})
	j.Cleanup(func() {
		cancel()
		all.Wait()
	})
}

type robotLook struct {
	Connection string  `json:"connection"`
	State      string  `json:"state"`
	Vertex     string  `json:"vertex"`
	Battery    float64 `json:"battery_soc"`
}

func (j *jam) look(name string) (b robotLook) {
	j.Helper()
	j.must(http.MethodGet, "/api/v1/robots/"+j.ids[name], nil, &b)
	return b
}

// tell commands a robot.
func (j *jam) tell(name, command string) {
	j.Helper()
	j.must(http.MethodPost, "/api/v1/robots/"+j.ids[name]+"/commands", map[string]any{"command": command}, nil)
}

// task creates a task that leads along cells; more are further fields. It returns its id.
func (j *jam) task(more map[string]any, cells ...string) string {
	j.Helper()
	body := map[string]any{"task_type": "patrol", "warehouse_id": j.warehouse, "payload": map[string]any{"waypoints": cells}}
	for k, v := range more {
		body[k] = v
	}
	var out struct {
		ID string `json:"task_id"`
	}
	j.must(http.MethodPost, "/api/v1/tasks", body, &out)
	return out.ID
}

// only is a task for one robot.
func (j *jam) only(name string) map[string]any { return map[string]any{"robot_id": j.ids[name]} }

func (j *jam) status(task string) string {
	j.Helper()
	var out struct {
		Status string `json:"status"`
	}
	j.must(http.MethodGet, "/api/v1/tasks/"+task, nil, &out)
	return out.Status
}

func (j *jam) until(what string, holds func() bool) {
	j.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			j.Fatalf("%s: not so after two minutes", what)
		}
	}
}

// why asks; what is "robots/name" or "tasks/id".
func (j *jam) why(what string) (w whyAnswer) {
	j.Helper()
	if name, ok := strings.CutPrefix(what, "robots/"); ok {
		what = "robots/" + j.ids[name]
	}
	j.must(http.MethodGet, "/api/v1/"+what+"/why", nil, &w)
	return w
}

// chain waits until the answer ends with a root, and returns that; first, where given, is what it begins with.
func (j *jam) chain(what string, want root, first ...string) whyCause {
	j.Helper()
	var w whyAnswer
	var last whyCause
	for deadline := time.Now().Add(100 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if w = j.why(what); len(w.Chain) > 0 {
			last = w.Chain[len(w.Chain)-1]
			if last.is(want) && (len(first) == 0 || w.Chain[0].Cause == first[0]) {
				break
			}
		}
		if time.Now().After(deadline) {
			j.Fatalf("why %s ends with %+v, want %+v; the chain: %s", what, last, want, told(w))
		}
	}
	j.Logf("why %s: %s", strings.SplitN(what, "/", 2)[0], told(w))
	if (last.Remedy == nil) != (want.remedy == "") || want.remedy == "" && last.Solves && last.Text == "" {
		j.Errorf("the root's remedy is %+v, want %q", last.Remedy, want.remedy)
	}
	return last
}

func (c *whyCause) is(want root) bool {
	remedy := ""
	if c.Remedy != nil {
		remedy = c.Remedy.Method + " " + c.Remedy.Path
	}
	return c.Cause == want.cause && c.Object.Type == want.kind && c.Object.ID == want.id && remedy == want.remedy
}

// told is a chain for people.
func told(w whyAnswer) string {
	var b strings.Builder
	for i, c := range w.Chain {
		fmt.Fprintf(&b, "%s[%s] %s (%s)", map[bool]string{true: " → "}[i > 0], c.Cause, c.Text, c.Object.Type)
		if c.Remedy != nil {
			fmt.Fprintf(&b, " REMEDY %s %s", c.Remedy.Method, c.Remedy.Body)
		}
		if c.Solves {
			b.WriteString(" solves itself")
			if c.Expected != nil {
				fmt.Fprintf(&b, " in about %.0f s", *c.Expected)
			}
		}
	}
	return b.String()
}

// press does what the remedy says. It is not to be refused.
func (j *jam) press(c whyCause) {
	j.Helper()
	if c.Remedy == nil || c.Remedy.Allowed == nil || !*c.Remedy.Allowed {
		j.Fatalf("nothing to press: %+v", c.Remedy)
	}
	var body any
	if len(c.Remedy.Body) > 0 && string(c.Remedy.Body) != "null" {
		body = c.Remedy.Body
	}
	j.must(c.Remedy.Method, c.Remedy.Path, body, nil)
}

// gone waits until the answer does not end with that cause any more.
func (j *jam) gone(what, cause string) {
	j.Helper()
	j.until("why "+what+" ends with "+cause+" no more", func() bool {
		w := j.why(what)
		return len(w.Chain) == 0 || w.Chain[len(w.Chain)-1].Cause != cause
	})
}

// ends waits until the task has a status and nothing waits any more.
func (j *jam) ends(task, status string) {
	j.Helper()
	j.until("the task is "+status, func() bool { return j.status(task) == status })
	if w := j.why("tasks/" + task); w.Waiting || len(w.Chain) > 0 {
		j.Errorf("a task that is %s waits: %s", status, told(w))
	}
}

// lane is the id of the lane from one cell to another.
func (j *jam) lane(from, to string) string {
	j.Helper()
	cursor := ""
	for {
		var page struct {
			Items []struct {
				ID   string `json:"lane_id"`
				From string `json:"from"`
				To   string `json:"to"`
			} `json:"items"`
			Next *string `json:"next_cursor"`
		}
		j.must(http.MethodGet, "/api/v1/lanes?limit=500&map_id="+j.mapID+cursor, nil, &page)
		for _, l := range page.Items {
			if l.From == from && l.To == to {
				return l.ID
			}
		}
		if page.Next == nil {
			j.Fatalf("no lane from %s to %s", from, to)
		}
		cursor = "&cursor=" + *page.Next
	}
}
