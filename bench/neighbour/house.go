package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"starling/deploy/stack"
)

// house is all that runs: servers, starling, the noisy clients.
type house struct {
	dir      string
	url      string
	linkAddr string
	quiet    *client
	loud     job
	redis    *stack.Redis
	server   *exec.Cmd
	noisy    *exec.Cmd
	in       io.WriteCloser
	answers  *bufio.Scanner
}

// job is what the noisy process is told first.
type job struct {
	URL, Link, Token, Warehouse string
	Robots                      []string
	Requests, Statuses          int // a second, of what it sends
}

func open(ctx context.Context, s settings) (h *house, err error) {
	h = &house{}
	if h.dir, err = os.MkdirTemp("", "starling-neighbour-"); err != nil {
		return h, err
	}
	if err := os.Chmod(h.dir, 0o755); err != nil { //nolint:gosec // the database's own user comes in
		return h, err
	}
	bin := s.bin
	if bin == "" {
		bin = filepath.Join(h.dir, "starling")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
			return h, fmt.Errorf("build starling: %w: %s", err, out)
		}
	}
	if bin, err = filepath.Abs(bin); err != nil {
		return h, err
	}
	pg, err := stack.Start(ctx, stack.Options{Dir: filepath.Join(h.dir, "postgres"), Fast: s.fast})
	if err != nil {
		return h, err
	}
	if h.redis, err = stack.StartRedis(ctx, stack.RedisOptions{Dir: filepath.Join(h.dir, "redis"), Guarded: true}); err != nil {
		return h, err
	}
	if err := h.serve(ctx, bin, pg.URL()); err != nil {
		return h, err
	}
	if err := h.furnish(ctx, s); err != nil {
		return h, err
	}
	return h, h.wakeNoisy(ctx)
}

func (h *house) serve(ctx context.Context, bin, database string) error {
	ports := [2]int{}
	for i := range ports {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		ports[i] = l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
	}
	h.url, h.linkAddr = fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	log, err := os.Create(filepath.Join(h.dir, "log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	h.server = exec.Command(bin, "serve", "--roles", "gateway,engine") //nolint:noctx // it is ended by close
	h.server.Dir, h.server.Stdout, h.server.Stderr = h.dir, log, log
	h.server.Env = append(os.Environ(), "ENV=dev", "CONFIG_PATH=", "DATABASE_URL="+database, "REDIS_URL="+h.redis.URL(), "DB_AUTO_MIGRATE=true",
		"DEV_ISSUER_ENABLED=true", "LOG_LEVEL=warn", "HTTP_PORT="+strconv.Itoa(ports[0]), "LINK_PORT="+strconv.Itoa(ports[1]))
	if err := h.server.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/readyz", nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
	}
	b, _ := os.ReadFile(log.Name())
	return fmt.Errorf("starling is not ready: %s", b)
}

// furnish makes the two tenants, each with a warehouse, a map and robots.
func (h *house) furnish(ctx context.Context, s settings) error {
	platform, err := h.token(ctx, map[string]any{"role": "platform_admin"})
	if err != nil {
		return err
	}
	root := newClient(h.url, platform)
	for _, slug := range []string{"quiet", "noisy"} {
		var tenant struct {
			ID string `json:"tenant_id"`
		}
		if err := root.call(ctx, http.MethodPost, "/api/v1/tenants", map[string]any{"slug": slug, "name": slug}, &tenant); err != nil {
			return err
		}
		token, err := h.token(ctx, map[string]any{"role": "admin", "tenant": tenant.ID, "expires_in_s": 86_400})
		if err != nil {
			return err
		}
		c := newClient(h.url, token)
		if c.warehouse, err = c.furnish(ctx); err != nil {
			return err
		}
		if slug == "quiet" {
			h.quiet = c
			continue
		}
		h.loud = job{URL: h.url, Link: h.linkAddr, Token: token, Warehouse: c.warehouse, Requests: s.times * s.requests, Statuses: s.times * s.statuses}
		if h.loud.Robots, err = c.robots(ctx, 100); err != nil {
			return err
		}
		quotas := map[string]any{"quotas": map[string]int{"requests_per_s": s.requests, "link_statuses_per_s": s.statuses}}
		if err := c.call(ctx, http.MethodPatch, "/api/v1/tenants/current/settings", quotas, nil); err != nil {
			return err
		}
	}
	return nil
}

func (h *house) token(ctx context.Context, grant map[string]any) (string, error) {
	var out struct {
		Token string `json:"access_token"`
	}
	err := newClient(h.url, "").call(ctx, http.MethodPost, "/dev/token", grant, &out)
	return out.Token, err
}

// wakeNoisy starts the noisy clients, paused.
func (h *house) wakeNoisy(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	h.noisy = exec.CommandContext(ctx, "nice", "-n", "19", self, "-role", "noisy")
	h.noisy.Stderr = os.Stderr
	if h.in, err = h.noisy.StdinPipe(); err != nil {
		return err
	}
	out, err := h.noisy.StdoutPipe()
	if err != nil {
		return err
	}
	h.answers = bufio.NewScanner(out)
	if err := h.noisy.Start(); err != nil {
		return err
	}
	b, err := json.Marshal(h.loud)
	if err != nil {
		return err
	}
	return h.order(string(b))
}

// order tells the noisy process something and waits for its answer.
func (h *house) order(line string) error {
	if _, err := io.WriteString(h.in, line+"\n"); err != nil {
		return err
	}
	if !h.answers.Scan() {
		return fmt.Errorf("the noisy clients have gone: %w", io.ErrUnexpectedEOF)
	}
	if a := h.answers.Text(); a != "ok" {
		return fmt.Errorf("the noisy clients say: %s", a)
	}
	return nil
}

// tell says what the noisy tenant got, and what the server counted.
func (h *house) tell(to io.Writer) error {
	if _, err := io.WriteString(h.in, "tell\n"); err != nil {
		return err
	}
	if h.answers.Scan() {
		fmt.Fprintf(to, "\nThe noisy tenant: %s\n", h.answers.Text())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/metrics", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		for _, name := range []string{"starling_quota_", "starling_link_statuses_total", "starling_link_dropped_total", "starling_postgres_groups_total", "starling_postgres_commit_seconds_count", "process_cpu_seconds_total"} {
			if strings.HasPrefix(line, name) {
				fmt.Fprint(to, "  ", line)
			}
		}
	}
	return nil
}

// close ends all that was started.
func (h *house) close() {
	if h.noisy != nil && h.noisy.Process != nil {
		_ = h.in.Close()
		_ = h.noisy.Process.Kill()
		_ = h.noisy.Wait()
	}
	if h.server != nil && h.server.Process != nil {
		_ = h.server.Process.Signal(syscall.SIGTERM)
		_ = h.server.Wait()
	}
	if h.redis != nil {
		_ = h.redis.Remove()
	}
	if h.dir != "" {
		_ = stack.Remove(context.Background(), filepath.Join(h.dir, "postgres"))
		_ = os.RemoveAll(h.dir)
	}
}

// client is one tenant's way to the API.
type client struct {
	base, token, warehouse string
	http                   *http.Client
	last                   chan string // ids of tasks to read
}

func newClient(base, token string) *client {
	t := &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute}
	return &client{base: base, token: token, http: &http.Client{Timeout: 30 * time.Second, Transport: t}, last: make(chan string, 64)}
}

func (c *client) call(ctx context.Context, method, path string, body, out any) error {
	status, answer, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	if status >= 300 {
		return fmt.Errorf("%s %s: %d %s", method, path, status, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

func (c *client) do(ctx context.Context, method, path string, body any) (status int, answer []byte, err error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, r)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err = io.ReadAll(res.Body)
	return res.StatusCode, answer, err
}

const (
	side  = 20
	kinds = 3
)

var kindNames = [...]string{"create", "get", "list"}

// request does the n-th request of the mix and says how long it took.
func (c *client) request(ctx context.Context, n int) (time.Duration, error) {
	began := time.Now()
	var err error
	switch n % kinds {
	case 0:
		var made struct {
			ID string `json:"task_id"`
		}
		err = c.call(ctx, http.MethodPost, "/api/v1/tasks", map[string]any{
			"task_type": "go_to", "warehouse_id": c.warehouse, "payload": map[string]any{"dropoff": strconv.Itoa(n % (side * side))},
		}, &made)
		if err == nil {
			select {
			case c.last <- made.ID:
			default:
			}
		}
	case 1:
		path := "/api/v1/me"
		select {
		case id := <-c.last:
			path = "/api/v1/tasks/" + id
			select {
			case c.last <- id:
			default: // newer ones have come meanwhile
			}
		default:
		}
		err = c.call(ctx, http.MethodGet, path, nil, nil)
	case 2:
		err = c.call(ctx, http.MethodGet, "/api/v1/tasks?limit=20", nil, nil)
	}
	return time.Since(began), err
}

func (c *client) furnish(ctx context.Context) (warehouse string, err error) {
	var w struct {
		ID string `json:"warehouse_id"`
	}
	if err := c.call(ctx, http.MethodPost, "/api/v1/warehouses", map[string]any{"warehouse_code": "w", "name": "Warehouse", "timezone": "UTC"}, &w); err != nil {
		return "", err
	}
	grid := fmt.Sprintf("type octile\nheight %d\nwidth %d\nmap\n", side, side) + strings.Repeat(strings.Repeat(".", side)+"\n", side)
	var m struct {
		ID string `json:"map_id"`
	}
	body := map[string]any{"warehouse_id": w.ID, "name": "floor", "format": "movingai", "content": grid, "resolution_m": 1.0}
	if err := c.call(ctx, http.MethodPost, "/api/v1/maps", body, &m); err != nil {
		return "", err
	}
	return w.ID, c.call(ctx, http.MethodPost, "/api/v1/maps/"+m.ID+"/versions/1/activate", nil, nil)
}

func (c *client) robots(ctx context.Context, n int) (ids []string, err error) {
	for i := range n {
		var r struct {
			ID string `json:"robot_id"`
		}
		body := map[string]any{"robot_code": fmt.Sprint("r", i), "protocol": "link", "warehouse_id": c.warehouse, "footprint_radius_m": 0.4, "max_speed_mps": 1.0}
		if err := c.call(ctx, http.MethodPost, "/api/v1/robots", body, &r); err != nil {
			return nil, err
		}
		ids = append(ids, r.ID)
	}
	return ids, nil
}
