//go:build integration

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"starling/deploy/stack/stacktest"
)

// beside is a second process over the same stores, with other roles and what env says otherwise.
func (s *service) beside(t *testing.T, roles string, env ...string) *service {
	t.Helper()
	dir := t.TempDir()
	b := &service{process: &process{bin: s.bin, dir: dir, port: freePort(t), link: freePort(t)}, output: filepath.Join(dir, "output")}
	b.env = slices.Concat(s.env, []string{fmt.Sprintf("HTTP_PORT=%d", b.port), fmt.Sprintf("LINK_PORT=%d", b.link)}, env)
	b.URL, b.Link = "http://"+b.addr(), fmt.Sprintf("127.0.0.1:%d", b.link)
	t.Cleanup(func() {
		if b.cmd != nil {
			_ = b.cmd.Process.Kill()
			_ = b.cmd.Wait()
		}
		keepSecrets(b.Token)
		keepLogs(t, dir)
	})
	b.launch(t, roles)
	b.ready(t)
	return b
}

// setting is the value that an environment gives a key.
func (s *service) setting(key string) string {
	for _, kv := range slices.Backward(s.env) {
		if v, ok := strings.CutPrefix(kv, key+"="); ok {
			return v
		}
	}
	return ""
}

// listedRobot is a robot of a list, as far as these tests look.
type listedRobot struct {
	ID         string  `json:"robot_id"`
	Connection string  `json:"connection"`
	AgeMS      *int64  `json:"age_ms"`
	State      *string `json:"state"`
	TaskID     *string `json:"task_id"`
	Pose       *struct{ X, Y float64 }
}

type listedTask struct {
	ID      string `json:"task_id"`
	Status  string `json:"status"`
	Version int64  `json:"version"`
}

// list reads a list to its end, page by page.
func list[T any](ctx context.Context, c *client, path string) (all []T, err error) {
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	for cursor := ""; ; {
		var page struct {
			Items []T     `json:"items"`
			Next  *string `json:"next_cursor"`
		}
		if err := c.call(ctx, http.MethodGet, path+sep+"limit=7"+cursor, "", nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == nil {
			return all, nil
		}
		cursor = "&cursor=" + *page.Next
	}
}

// soon waits until something is so.
func soon(t *testing.T, what string, is func() error) time.Duration {
	t.Helper()
	began := time.Now()
	var err error
	for time.Since(began) < time.Minute {
		if err = is(); err == nil {
			return time.Since(began)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s: %v", what, err)
	return 0
}

// A process that holds no robots lists them as they are now, of the views that those who hold them keep in Redis; after
// FLUSHALL too, and while Postgres is away.
func TestListsWithoutAnEngine(t *testing.T) {
	const team = 20
	s := newService(t, 5*time.Second)
	r := stacktest.OwnRedis(t)
	s.env = append(s.env, "REDIS_URL="+r.URL())
	s.launch(t, "gateway,engine")
	s.ready(t)
	s.admit(t)
	d := &drill{process: s.process}
	stop := d.open(t, team)
	defer stop()

	pg := newFault(t, "postgres", hostOf(t, s.setting("DATABASE_URL")))
	g := s.beside(t, "gateway", "DATABASE_URL="+through(t, s.setting("DATABASE_URL"), pg.addr()))
	var me struct {
		Tenants []string `json:"tenant_ids"`
	}
	here := newClient(s.URL, s.Token)
	if err := here.call(t.Context(), http.MethodGet, "/api/v1/me", "", nil, &me); err != nil {
		t.Fatal(err)
	}
	g.Token = g.issue(t, map[string]any{"role": "admin", "tenant": me.Tenants[0]})
	there := newClient(g.URL, g.Token)
	for i := range 60 {
		if status, body := d.create(http.DefaultClient, i); status != http.StatusCreated {
			t.Fatalf("%d %s", status, body)
		}
	}

	fresh := func() error { return freshRobots(t.Context(), there, team) }
	took := soon(t, "the robots of another process", fresh)
	same := func() error { return sameTasks(t.Context(), here, there, d.warehouse) }
	soon(t, "the open tasks of another process", same)
	reads := func() float64 { return metricOf(t, g.URL, `starling_redis_view_reads_total{outcome="ok"}`) }
	before := reads()
	soon(t, "both lists again", func() error { return errors.Join(fresh(), same()) }) // tasks go on between two readings
	if reads() < before+2 {
		t.Error("lists are not read from Redis")
	}

	o, err := goredis.ParseURL(r.URL())
	if err != nil {
		t.Fatal(err)
	}
	c := goredis.NewClient(o)
	defer func() { _ = c.Close() }()
	var flushed []time.Duration
	for range 3 {
		if err := c.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := list[listedRobot](t.Context(), there, "/api/v1/robots"); err != nil {
			t.Errorf("just after FLUSHALL: %v", err)
		}
		flushed = append(flushed, soon(t, "robots after FLUSHALL", func() error { return errors.Join(fresh(), same()) }).Round(time.Millisecond))
	}

	for name, hurt := range map[string]func(){"refused": pg.proxy.Stop, "hanging": func() { pg.hang(t) }} {
		hurt()
		soon(t, "robots while Postgres is "+name, fresh)
		open, err := list[listedTask](t.Context(), there, "/api/v1/tasks?status=EXECUTING&warehouse_id="+d.warehouse)
		if err != nil || len(open) == 0 {
			t.Errorf("tasks while Postgres is %s: %d, %v", name, len(open), err)
		}
		var e *apiError
		if _, err := list[listedTask](t.Context(), there, "/api/v1/tasks"); !errors.As(err, &e) || e.Status != http.StatusServiceUnavailable && e.Status != http.StatusGatewayTimeout {
			t.Errorf("all tasks while Postgres is %s: %v", name, err)
		}
		pg.heal(t)
		soon(t, "all tasks again", func() error { _, err := list[listedTask](t.Context(), there, "/api/v1/tasks"); return err })
	}
	stop()
	t.Logf("robots of another process after %v; whole after FLUSHALL in %v", took.Round(time.Millisecond), flushed)
}

// freshRobots demands all robots, on line and just seen.
func freshRobots(ctx context.Context, c *client, team int) error {
	all, err := list[listedRobot](ctx, c, "/api/v1/robots")
	if err != nil {
		return err
	}
	if len(all) != team {
		return fmt.Errorf("%d robots", len(all))
	}
	for i, r := range all {
		if i > 0 && all[i-1].ID == r.ID {
			return fmt.Errorf("robot %s twice", r.ID)
		}
		if r.Connection != "ONLINE" || r.AgeMS == nil || *r.AgeMS > 3000 || r.Pose == nil || r.State == nil {
			return fmt.Errorf("robot %+v", r)
		}
	}
	return nil
}

// sameTasks demands that both processes list the same open tasks, or newer ones.
func sameTasks(ctx context.Context, a, b *client, warehouse string) error {
	for _, status := range []string{"CREATED", "ASSIGNED", "EXECUTING"} {
		path := "/api/v1/tasks?status=" + status + "&warehouse_id=" + warehouse
		x, err := list[listedTask](ctx, a, path)
		if err != nil {
			return err
		}
		y, err := list[listedTask](ctx, b, path)
		if err != nil {
			return err
		}
		if !slices.Equal(x, y) {
			return fmt.Errorf("%s: %d tasks and %d", status, len(x), len(y))
		}
	}
	return nil
}

// metricOf reads one sample of a process; 0 = it has none of this name.
func metricOf(t *testing.T, url, name string) float64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			f, err := strconv.ParseFloat(v, 64)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
	}
	return 0
}
