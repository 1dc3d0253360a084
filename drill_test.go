//go:build integration

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"starling/bench/lorr"
	"starling/bench/robots"
	"starling/bench/validate"
	"starling/deploy/stack"
)

// process is a `starling dev` of its own, without a demo, that comes back at the same addresses.
type process struct {
	bin, dir   string
	port, link int
	cmd        *exec.Cmd
	URL        string `json:"url"`
	Link       string `json:"link_addr"`
	Token      string `json:"token"`
}

func newProcess(t *testing.T) *process {
	t.Helper()
	dir, err := os.MkdirTemp("", "starling-drill-") //nolint:usetesting // the account postgres must be able to enter it
	if err != nil {
		t.Fatal(err)
	}
	p := &process{bin: filepath.Join(dir, "starling"), dir: dir, port: freePort(t), link: freePort(t)}
	t.Cleanup(func() {
		if p.cmd != nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
		keepSecrets(p.Token)
		keepLogs(t, dir)
		if err := stack.Remove(context.Background(), filepath.Join(dir, "data", "postgres")); err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(dir)
	})
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", p.bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v %s", err, out)
	}
	return p
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func (p *process) start(t *testing.T) {
	t.Helper()
	ready, output := filepath.Join(p.dir, "ready.json"), filepath.Join(p.dir, "output")
	_ = os.Remove(ready)
	out, err := os.Create(output) // a file: PostgreSQL, which outlives a kill, would hold a pipe open
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(p.bin, "dev", "--data", filepath.Join(p.dir, "data"), "--port", strconv.Itoa(p.port),
		"--link-port", strconv.Itoa(p.link), "--robots", "0", "--ready-file", ready)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	err = p.cmd.Start()
	_ = out.Close()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if b, err := os.ReadFile(ready); err == nil && json.Unmarshal(b, p) == nil {
			return
		}
	}
	b, _ := os.ReadFile(output)
	t.Fatalf("the process is not ready: %s", b)
}

// kill is kill -9.
func (p *process) kill() { _ = p.cmd.Process.Signal(syscall.SIGKILL) }

// drill is a small crowded floor with robots of its own, outside the process.
type drill struct {
	*process
	warehouse string
	problem   *lorr.Problem
	cells     []int
	began     time.Time

	mu    sync.Mutex
	moves []validate.Move
}

// open makes warehouse, map and robots, and lets the robots run until the test ends.
func (d *drill) open(t *testing.T, n int) (stop func()) {
	t.Helper()
	var err error
	if d.problem, err = lorr.Load("testdata/lorr/random_100/problem.json"); err != nil {
		t.Fatal(err)
	}
	c := newClient(d.URL, d.Token)
	var out struct {
		ID string `json:"warehouse_id"`
	}
	if err := c.call(t.Context(), http.MethodPost, "/api/v1/warehouses", "", map[string]any{"warehouse_code": "drill", "name": "Drill", "timezone": "UTC"}, &out); err != nil {
		t.Fatal(err)
	}
	d.warehouse = out.ID
	id, _, err := c.upload(t.Context(), out.ID, "floor", "lorr", string(d.problem.Map), 1, true)
	if err != nil {
		t.Fatal(err)
	}
	places, cells, err := startPlaces(t.Context(), c, warehouse{ID: out.ID, MapID: id, Version: 1}, d.problem.Start[:n])
	if err != nil {
		t.Fatal(err)
	}
	rs, err := register(t.Context(), c, out.ID, "drill", places)
	if err != nil {
		t.Fatal(err)
	}
	d.cells, d.began = cells, time.Now()
	f, err := robots.New(robots.Options{
		LinkAddr: d.Link, Token: d.Token, WarehouseID: out.ID, Robots: rs, Seed: 1, PerStream: 25, Log: slog.New(slog.DiscardHandler), OnMove: d.moved,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { f.Run(ctx) })
	return func() {
		cancel()
		all.Wait()
	}
}

func (d *drill) moved(m robots.Move) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.moves = append(d.moves, validate.Move{
		Robot: m.Robot, From: d.cells[m.From], To: d.cells[m.To], Depart: m.Depart.Sub(d.began).Milliseconds(), Arrive: m.Arrive.Sub(d.began).Milliseconds(),
	})
}

// movers is how many robots have moved since.
func (d *drill) movers(since time.Time) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	who := map[int]bool{}
	for _, m := range d.moves {
		if m.Depart > since.Sub(d.began).Milliseconds() {
			who[m.Robot] = true
		}
	}
	return len(who)
}

// create posts task i under its key and returns the answer; status 0 where there was none.
func (d *drill) create(client *http.Client, i int) (status int, body []byte) {
	rng := rand.New(rand.NewPCG(1, uint64(i)))
	way := []string{strconv.Itoa(d.cells[rng.IntN(len(d.cells))]), strconv.Itoa(d.cells[rng.IntN(len(d.cells))])}
	b, err := json.Marshal(map[string]any{"task_type": "patrol", "warehouse_id": d.warehouse, "payload": map[string]any{"waypoints": way, "n": i}})
	if err != nil {
		return 0, []byte(err.Error())
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, d.URL+"/api/v1/tasks", bytes.NewReader(b))
	if err != nil {
		return 0, []byte(err.Error())
	}
	req.Header.Set("Authorization", "Bearer "+d.Token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", fmt.Sprintf("drill-%d", i))
	res, err := client.Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer func() { _ = res.Body.Close() }()
	if body, err = io.ReadAll(res.Body); err != nil {
		return 0, []byte(err.Error())
	}
	return res.StatusCode, body
}

// createAll posts tasks 0..n-1, sixteen at a time.
func (d *drill) createAll(n int, answered func(i, status int, body []byte)) {
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i := range n {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			status, body := d.create(client, i)
			answered(i, status, body)
		})
	}
	all.Wait()
}

// tasks counts the tasks that the engine lists with a status, "" = all.
func (d *drill) tasks(t *testing.T, status string) int {
	t.Helper()
	c := newClient(d.URL, d.Token)
	n := 0
	for cursor := ""; ; {
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  *string           `json:"next_cursor"`
		}
		if err := c.call(t.Context(), http.MethodGet, "/api/v1/tasks?limit=500"+status+cursor, "", nil, &page); err != nil {
			t.Fatal(err)
		}
		n += len(page.Items)
		if page.Next == nil {
			return n
		}
		cursor = "&cursor=" + *page.Next
	}
}

// Killed in the middle of a thousand creations and started again, the engine has each acknowledged task once and answers
// every retry with the first answer; its robots, which drive on meanwhile as far as they were allowed, go on, and nothing
// was granted twice.
func TestKilledInTheMiddleOfAThousandCreations(t *testing.T) {
	const tasks, team = 1000, 60
	d := &drill{process: newProcess(t)}
	d.start(t)
	stop := d.open(t, team)
	defer stop()
	first := make([][]byte, tasks)
	var acknowledged, refused int
	var mu sync.Mutex
	d.createAll(tasks, func(i, status int, body []byte) {
		mu.Lock()
		defer mu.Unlock()
		if status != http.StatusCreated {
			if refused++; acknowledged < tasks/2 && refused < 5 {
				t.Errorf("task %d: %d %s", i, status, body)
			}
			return
		}
		first[i] = body
		switch acknowledged++; acknowledged {
		case tasks / 4:
			time.Sleep(5 * time.Second) // all wait: robots shall be on their way
		case tasks / 2:
			d.kill()
		}
	})
	if t.Failed() {
		return
	}
	_ = d.cmd.Wait()
	if acknowledged < tasks/2 || acknowledged == tasks || d.movers(d.began) < team/2 {
		t.Fatalf("killed after %d acknowledgements, when %d robots moved", acknowledged, d.movers(d.began))
	}
	d.start(t)
	restarted := time.Now()
	ids := map[string]bool{}
	d.createAll(tasks, func(i, status int, body []byte) {
		mu.Lock()
		defer mu.Unlock()
		var task struct {
			ID string `json:"task_id"`
		}
		if status != http.StatusCreated || json.Unmarshal(body, &task) != nil || first[i] != nil && !bytes.Equal(first[i], body) {
			t.Errorf("task %d: %d %s, first answer %s", i, status, body, first[i])
		}
		ids[task.ID] = true
	})
	if n := d.tasks(t, ""); len(ids) != tasks || n != tasks {
		t.Errorf("%d keys were answered with %d tasks, the engine has %d", tasks, len(ids), n)
	}
	done := d.tasks(t, "&status=SUCCEEDED")
	var half time.Duration // until half of the robots had moved again
	goOn := func() bool {
		if half == 0 && d.movers(restarted) >= team/2 {
			half = time.Since(restarted)
		}
		return d.movers(restarted) >= team*9/10 && d.tasks(t, "&status=SUCCEEDED") >= done+team/2
	}
	for deadline := time.Now().Add(90 * time.Second); !goOn(); time.Sleep(500 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("90 s after the restart %d of %d robots have moved, %d tasks succeeded", d.movers(restarted), team, d.tasks(t, "&status=SUCCEEDED")-done)
		}
	}
	took := time.Since(restarted)
	stop()
	d.judge(t, team)
	t.Logf("%d acknowledged before the kill, %d tasks after the retries; %d moves without a conflict; half the robots move after %s, %d of them and %d tasks done after %s",
		acknowledged, len(ids), len(d.moves), half.Round(100*time.Millisecond), d.movers(restarted), team/2, took.Round(100*time.Millisecond))
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("the process ended badly: %v", err)
	}
}

// judge lets the independent validator look at every move.
func (d *drill) judge(t *testing.T, team int) {
	t.Helper()
	grid, err := validate.ParseGrid(d.problem.Map)
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r := validate.Check(&validate.Recording{Grid: grid, Start: d.problem.Start[:team], Moves: d.moves}, validate.Options{})
	for _, f := range r.Findings {
		t.Error(f)
	}
}
