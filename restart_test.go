//go:build integration

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
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

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"starling/deploy/stack"
	linkv1 "starling/proto/gen/starling/link/v1"
)

// service is a `starling serve` over a database of its own, that comes back at the same addresses.
type service struct {
	*process
	env    []string
	output string // all it has printed, over restarts
}

func newService(t *testing.T, shutdown time.Duration) *service {
	t.Helper()
	s := &service{process: newProcess(t)}
	data := filepath.Join(s.dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	pg, err := stack.Start(t.Context(), stack.Options{Dir: filepath.Join(data, "postgres"), Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	guarded(t, pg, filepath.Join(data, "postgres"))
	t.Cleanup(func() { // before its database
		if s.cmd != nil {
			_ = s.cmd.Process.Kill()
		}
	})
	s.output = filepath.Join(s.dir, "output")
	s.env = append(os.Environ(), "ENV=dev", "CONFIG_PATH=", "DATABASE_URL="+pg.URL(), "DB_AUTO_MIGRATE=true", "DEV_ISSUER_ENABLED=true", "LOG_LEVEL=info",
		"HTTP_PORT="+strconv.Itoa(s.port), "LINK_PORT="+strconv.Itoa(s.link), "SHUTDOWN_TIMEOUT_MS="+strconv.FormatInt(shutdown.Milliseconds(), 10))
	s.URL, s.Link = "http://"+s.addr(), fmt.Sprintf("127.0.0.1:%d", s.link)
	return s
}

// guarded ends the cluster of a folder with the test, or with the test binary where that dies before.
func guarded(t *testing.T, pg *stack.Postgres, folder string) {
	t.Helper()
	g, err := stack.NewGuard(pg.StopCommand(), folder, pg.Base())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (s *service) addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// launch starts the process with these roles; it is not ready yet.
func (s *service) launch(t *testing.T, roles string) {
	t.Helper()
	out, err := os.OpenFile(s.output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	keepSettings(s.env)
	s.cmd = exec.Command(s.bin, "serve", "--roles", roles)
	s.cmd.Dir, s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = s.dir, s.env, out, out
	err = s.cmd.Start()
	_ = out.Close()
	if err != nil {
		t.Fatal(err)
	}
}

// ready waits until the process says that requests should come.
func (s *service) ready(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Close = true
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
	}
	b, _ := os.ReadFile(s.output)
	t.Fatalf("the process is not ready: %s", b)
}

// issue asks the development issuer for a token.
func (s *service) issue(t *testing.T, grant map[string]any) string {
	t.Helper()
	var out struct {
		Token string `json:"access_token"`
	}
	c := newClient(s.URL, "")
	defer c.http.CloseIdleConnections()
	if err := c.call(t.Context(), http.MethodPost, "/dev/token", "", grant, &out); err != nil {
		t.Fatal(err)
	}
	keepSecrets(out.Token)
	return out.Token
}

// admit makes the tenant "restart" and a token for its administrator.
func (s *service) admit(t *testing.T) {
	t.Helper()
	var tenant struct {
		ID string `json:"tenant_id"`
	}
	c := newClient(s.URL, s.issue(t, map[string]any{"role": "platform_admin"}))
	defer c.http.CloseIdleConnections()
	if err := c.call(t.Context(), http.MethodPost, "/api/v1/tenants", "", map[string]any{"slug": "restart", "name": "Restart"}, &tenant); err != nil {
		t.Fatal(err)
	}
	s.Token = s.issue(t, map[string]any{"role": "admin", "tenant": tenant.ID})
}

// terminate sends SIGTERM, waits for the end and says how long it took. Exit code 0 is demanded.
func (s *service) terminate(t *testing.T) (took time.Duration) {
	t.Helper()
	began := time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, s.kill)
	defer late.Stop()
	if err := s.cmd.Wait(); err != nil {
		b, _ := os.ReadFile(s.output)
		t.Errorf("the process ended badly: %v; the end of its output: %s", err, b[max(0, len(b)-2000):])
	}
	return time.Since(began)
}

// printed says whether a text stands in the output.
func (s *service) printed(text string) bool { return s.times(text) > 0 }

// times counts a text in the output.
func (s *service) times(text string) int {
	b, err := os.ReadFile(s.output)
	if err != nil {
		return 0
	}
	return bytes.Count(b, []byte(text))
}

// listener is a stream of the robot link that only listens.
type listener struct {
	welcome chan *linkv1.Welcome
	closing []*linkv1.Closing
	err     error // of the stream's end
	done    chan struct{}
}

// listenLink opens a stream for one robot and waits for its welcome.
func listenLink(t *testing.T, d *drill, code string) *listener {
	t.Helper()
	conn, err := grpc.NewClient(d.Link, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ss, err := linkv1.NewLinkClient(conn).Connect(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+d.Token))
	if err != nil {
		t.Fatal(err)
	}
	hello := &linkv1.Hello{ProtocolVersion: 1, Agent: "test", WarehouseId: d.warehouse, Robots: []*linkv1.RobotHello{{RobotCode: code, BootId: "1"}}}
	if err := ss.Send(&linkv1.Uplink{Frame: &linkv1.Uplink_Hello{Hello: hello}}); err != nil {
		t.Fatal(err)
	}
	l := &listener{welcome: make(chan *linkv1.Welcome, 1), done: make(chan struct{})}
	go func() { // ends with the stream
		defer close(l.done)
		for {
			m, err := ss.Recv()
			if err != nil {
				l.err = err
				return
			}
			switch f := m.Frame.(type) {
			case *linkv1.Downlink_Welcome:
				l.welcome <- f.Welcome
			case *linkv1.Downlink_Closing:
				l.closing = append(l.closing, f.Closing)
			}
		}
	}()
	select {
	case w := <-l.welcome:
		if len(w.Robots) != 1 || w.Robots[0].Handle == 0 {
			t.Fatalf("robot %s is not welcome: %v", code, w)
		}
	case <-l.done:
		t.Fatalf("the stream of robot %s ended: %v", code, l.err)
	}
	return l
}

// ended holds a stream to the contract: it was told that it would end, and when to come back, and ended as it says.
func (l *listener) ended(t *testing.T) {
	t.Helper()
	select {
	case <-l.done:
	case <-time.After(10 * time.Second):
		t.Error("a stream goes on without its server")
		return
	}
	if len(l.closing) != 1 || l.closing[0].Reason == "" || l.closing[0].RetryAfterMs == 0 || status.Code(l.err) != codes.Unavailable {
		t.Errorf("a stream was told %v and ended with %v", l.closing, l.err)
	}
}

// body is a task of its own for each key.
func (d *drill) body(t *testing.T, n int) []byte {
	t.Helper()
	way := []string{strconv.Itoa(d.cells[n*37%len(d.cells)]), strconv.Itoa(d.cells[n*101%len(d.cells)])}
	b, err := json.Marshal(map[string]any{"task_type": "patrol", "warehouse_id": d.warehouse, "payload": map[string]any{"waypoints": way, "n": n}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// taskIDs lists the ids of all tasks, in the order in which the engine tells them.
func (d *drill) taskIDs(t *testing.T) []string {
	t.Helper()
	c := newClient(d.URL, d.Token)
	var ids []string
	for cursor := ""; ; {
		var page struct {
			Items []struct {
				ID string `json:"task_id"`
			} `json:"items"`
			Next *string `json:"next_cursor"`
		}
		if err := c.call(t.Context(), http.MethodGet, "/api/v1/tasks?limit=500"+cursor, "", nil, &page); err != nil {
			t.Fatal(err)
		}
		for _, i := range page.Items {
			ids = append(ids, i.ID)
		}
		if page.Next == nil {
			return ids
		}
		cursor = "&cursor=" + *page.Next
	}
}

// register makes robots that no simulation drives, where the drill's own do not stand.
func (d *drill) register(t *testing.T, prefix string, from, n int) {
	t.Helper()
	c := newClient(d.URL, d.Token)
	places := make([]vertexItem, n)
	for i := range places {
		places[i] = vertexItem{Index: d.problem.Start[from+i]}
	}
	if _, err := register(t.Context(), c, d.warehouse, prefix, places); err != nil {
		t.Fatal(err)
	}
}

// load lets clients post and read at a steady rate until stop is called; half of them keep their connections.
func (d *drill) load(t *testing.T, s *service, all *tally, clients int, every time.Duration) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i := range clients {
		running.Go(func() {
			c := &caller{addr: s.addr(), token: s.Token, fresh: i%2 == 1, tally: all}
			defer c.hangUp()
			tick := time.NewTicker(every)
			defer tick.Stop()
			for n := 0; ; n++ {
				switch n % 3 {
				case 0:
					c.create(fmt.Sprintf("load-%d-%d", i, n), d.body(t, i*100_000+n))
				case 1:
					c.call(http.MethodGet, "/api/v1/robots?limit=50", "", nil, http.StatusOK)
				case 2:
					c.call(http.MethodGet, "/api/v1/tasks?limit=20", "", nil, http.StatusOK)
				}
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
		})
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// heldOpen begins n requests, each on a connection of its own, and waits until the process works on them.
func (s *service) heldOpen(t *testing.T, d *drill, all *tally, n int) (finish []func() (int, []byte, error)) {
	t.Helper()
	for i := range n {
		c := &caller{addr: s.addr(), token: s.Token, tally: all}
		t.Cleanup(c.hangUp)
		key := fmt.Sprintf("held-%d", i)
		finish = append(finish, c.hold(t, key, d.body(t, 9_000_000+i)))
		for deadline := time.Now().Add(10 * time.Second); !s.printed(`"request_id":"` + key + `"`); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("request %s does not arrive", key)
			}
		}
	}
	return finish
}

// whileStopping ends the held requests one by one while the process stops, and notes when it did.
func (c *tally) whileStopping(finish []func() (int, []byte, error), terminate func() time.Duration) (drain time.Duration) {
	var answers sync.WaitGroup
	term := time.Now()
	c.term.Store(&term)
	for i := range finish {
		answers.Go(func() {
			time.Sleep(time.Duration(300+400*i) * time.Millisecond) // the process is stopping meanwhile
			key := fmt.Sprintf("held-%d", i)
			code, body, err := finish[i]()
			if err != nil || code != http.StatusCreated {
				c.fail(key, fmt.Errorf("%d %s %w", code, body, err))
				return
			}
			c.keep(key, body)
			c.answered(term.Add(-1), true)
		})
	}
	drain = terminate()
	gone := time.Now()
	c.gone.Store(&gone)
	answers.Wait()
	return drain
}

// Stopped by SIGTERM under load and started again at the same address, the process loses no request of clients that try
// again what was refused: what was under way is answered, robots are told, and each acknowledged task is there once.
func TestARestartUnderLoadFailsNoRequest(t *testing.T) {
	const clients, team, listeners, held, bound = 8, 20, 3, 4, 5 * time.Second
	s := newService(t, bound)
	s.launch(t, "gateway,engine")
	s.ready(t)
	s.admit(t)
	d := &drill{process: s.process}
	stop := d.open(t, team)
	defer stop()
	d.register(t, "listener", team, listeners)
	streams := make([]*listener, listeners)
	for i := range streams {
		streams[i] = listenLink(t, d, fmt.Sprintf("listener-%05d", i+1))
	}
	all := &tally{retried: map[string]int{}, tasks: map[string]string{}}
	end := d.load(t, s, all, clients, 50*time.Millisecond)
	time.Sleep(5 * time.Second)
	finish := s.heldOpen(t, d, all, held)
	drain := all.whileStopping(finish, func() time.Duration { return s.terminate(t) })
	if drain > bound {
		t.Errorf("the process took %s to stop, it may take %s", drain, bound)
	}
	for _, l := range streams {
		l.ended(t)
	}
	s.launch(t, "gateway,engine")
	s.ready(t)
	away, restarted := time.Since(*all.gone.Load()), time.Now()
	time.Sleep(5 * time.Second)
	end()
	for deadline := time.Now().Add(30 * time.Second); d.movers(restarted) < team/2 && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
	}
	if n := d.movers(restarted); n < team/2 {
		t.Errorf("%d of %d robots have moved since the restart", n, team)
	}
	stop()
	d.judge(t, team)
	all.judge(t, held, d.taskIDs(t))
	t.Logf("%d requests, %d tries, retried %v, %d failed; drained in %s (bound %s) with %d answers, %d of them to requests begun before SIGTERM; away %s; longest request %s; %d tasks",
		all.requests, all.tries, all.retried, len(all.failed), drain.Round(time.Millisecond), bound, all.drained, all.spanned, away.Round(time.Millisecond), all.longest.Round(time.Millisecond), len(all.tasks))
	s.terminate(t)
	if s.times(`"event":"process.stopped"`) != 2 || s.printed(`"event":"process.stop"`) {
		t.Error("a stop was cut short")
	}
}

// Whoever does not end its request, or says nothing at all, does not keep the process: robots are told and the actors
// save what is under way within the bound all the same.
func TestAStopIsBoundedWhateverClientsDo(t *testing.T) {
	const bound = 3 * time.Second
	s := newService(t, bound)
	s.launch(t, "gateway,engine")
	s.ready(t)
	s.admit(t)
	d := &drill{process: s.process}
	stop := d.open(t, 4)
	defer stop()
	d.register(t, "listener", 4, 1)
	l := listenLink(t, d, "listener-00001")
	s.heldOpen(t, d, &tally{}, 2)
	for _, addr := range []string{s.addr(), s.Link} {
		var dialer net.Dialer
		silent, err := dialer.DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = silent.Close() })
	}
	time.Sleep(100 * time.Millisecond) // both are accepted
	took := s.terminate(t)
	if took > bound || took < bound/3 {
		t.Errorf("the process took %s to stop with a request that does not end: want at most %s, and some patience", took, bound)
	}
	l.ended(t)
	if !s.printed(`"part":"http"`) || s.printed(`"part":"actors"`) || s.printed(`"part":"store"`) {
		t.Error("want the requests cut short, and the actors and the store not")
	}
	t.Logf("stopped in %s (bound %s)", took.Round(time.Millisecond), bound)
}
