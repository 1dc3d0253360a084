//go:build integration

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	goredis "github.com/redis/go-redis/v9"

	"starling/deploy/stack"
	"starling/deploy/stack/stacktest"
)

// The stores that a drill hurts, as /readyz calls them.
const (
	postgresStore = "postgres"
	redisStore    = "redis"
	kafkaStore    = "kafka"
	influxStore   = "influxdb"
)

func drilledStores() []string { return []string{postgresStore, redisStore, kafkaStore, influxStore} }

// arena is a whole Starling on real servers, each behind a proxy, under load: tasks are created, robots drive, commands are
// sent, and a reader of its own listens to Kafka.
type arena struct {
	*service
	floor  *drill
	pg     *stack.Postgres
	pgDir  string
	redis  *stack.Redis
	kafka  *stack.Kafka
	influx *stack.Influx
	faults map[string]*fault
	small  bool
	limits drillLimits
	every  time.Duration     // between two tasks of each who creates them
	disks  map[string]string // store -> where its small disk is mounted
	rows   *pgxpool.Pool     // past the proxies
	reader *factReader

	mu       sync.Mutex
	acked    map[string]string // task id -> key
	refused  int               // creations that were not acknowledged, and were tried again
	commands []stagedCommand
	robots   []string
	end      []func()
}

// stagedCommand is one command's way, from POST to the robot's acknowledgement.
type stagedCommand struct {
	sent time.Time
	took time.Duration // 0 = it was refused, or nobody acknowledged it
}

// newArena starts it all. small: the disks of Postgres, Kafka and InfluxDB are small ones of their own, which can be filled,
// where this account may make such.
func newArena(t *testing.T, small bool) *arena {
	t.Helper()
	a := &arena{service: &service{process: newProcess(t)}, faults: map[string]*fault{}, acked: map[string]string{}, disks: map[string]string{}, every: 250 * time.Millisecond}
	a.small = small && os.Getuid() == 0
	a.output = filepath.Join(a.dir, "output")
	a.servers(t)
	a.env = append(os.Environ(), "ENV=dev", "CONFIG_PATH=", "DB_AUTO_MIGRATE=true", "DEV_ISSUER_ENABLED=true", "LOG_LEVEL=warn", "SHUTDOWN_TIMEOUT_MS=5000",
		"HTTP_PORT="+strconv.Itoa(a.port), "LINK_PORT="+strconv.Itoa(a.link),
		"DATABASE_URL="+through(t, a.pg.URL(), a.faults[postgresStore].addr()), "REDIS_URL="+through(t, a.redis.URL(), a.faults[redisStore].addr()),
		"KAFKA_BROKERS="+a.faults[kafkaStore].addr(), "INFLUX_URL="+through(t, a.influx.URL(), a.faults[influxStore].addr()),
		"INFLUX_ORG="+a.influx.Org(), "INFLUX_BUCKET="+a.influx.Bucket(), "INFLUX_TOKEN="+a.influx.Token())
	keepSecrets(a.influx.Token())
	a.URL, a.Link = "http://"+a.addr(), fmt.Sprintf("127.0.0.1:%d", a.link)
	var err error
	if a.rows, err = pgxpool.New(t.Context(), a.pg.URL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.rows.Close)
	t.Cleanup(func() { // before the servers
		if a.cmd != nil {
			_ = a.cmd.Process.Kill()
		}
	})
	a.launch(t, "gateway,engine,worker")
	a.ready(t)
	a.admit(t)
	a.reader = newFactReader(t, a.faults[kafkaStore].addr())
	return a
}

// servers starts the real ones and their proxies. Kafka tells clients where to go, so it is told to name its proxy.
func (a *arena) servers(t *testing.T) {
	t.Helper()
	if err := os.Chmod(a.dir, 0o755); err != nil { // Postgres's account comes in
		t.Fatal(err)
	}
	a.pgDir = filepath.Join(a.disk(t, postgresStore, 600), "postgres")
	var err error
	if a.pg, err = stack.Start(t.Context(), stack.Options{Dir: a.pgDir}); err != nil { // durable: it will be killed
		t.Fatal(err)
	}
	guarded(t, a.pg, a.pgDir)
	a.redis = stacktest.OwnRedis(t)
	if a.influx, err = stack.StartInflux(t.Context(), stack.InfluxOptions{Dir: filepath.Join(a.disk(t, influxStore, 300), "influx"), Guarded: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.influx.Remove() })
	port := freePort(t)
	a.faults[kafkaStore] = newFault(t, kafkaStore, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	a.kafka, err = stack.StartKafka(t.Context(), stack.KafkaOptions{
		Dir: filepath.Join(a.disk(t, kafkaStore, 600), "kafka"), Port: port, Guarded: true, Fast: true,
		Settings: map[string]string{"advertised.listeners": "PLAINTEXT://" + a.faults[kafkaStore].addr()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.kafka.Remove() })
	a.faults[postgresStore] = newFault(t, postgresStore, hostOf(t, a.pg.URL()))
	a.faults[redisStore] = newFault(t, redisStore, hostOf(t, a.redis.URL()))
	a.faults[influxStore] = newFault(t, influxStore, hostOf(t, a.influx.URL()))
}

// disk makes the folder of a store, on a disk of so many MB where disks are to be small.
func (a *arena) disk(t *testing.T, store string, mb int) string {
	t.Helper()
	dir := filepath.Join(a.dir, "data", store)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if !a.small {
		return dir
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=755", mb)); err != nil {
		t.Logf("no small disk for %s, which is not filled: %v", store, err)
		return dir
	}
	a.disks[store] = dir
	t.Cleanup(func() { // after its server, which is stopped by what was registered later
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk fills a store's disk to the last byte; Redis has its memory for one.
func (a *arena) fillDisk(t *testing.T, store string) {
	t.Helper()
	if store == redisStore {
		a.redisMemory(t, "1")
		return
	}
	f, err := os.Create(filepath.Join(a.disks[store], "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for size := 1 << 20; size > 0; size >>= 1 {
		for b := make([]byte, size); ; {
			if _, err := f.Write(b); err != nil {
				break
			}
		}
	}
}

// freeDisk takes away what fillDisk has put there, and starts the server again where it has given up.
func (a *arena) freeDisk(t *testing.T, store string) {
	t.Helper()
	switch store {
	case redisStore:
		a.redisMemory(t, "268435456")
		return
	case postgresStore, kafkaStore, influxStore:
	}
	if err := os.Remove(filepath.Join(a.disks[store], "ballast")); err != nil {
		t.Fatal(err)
	}
	alive := map[string]func() int{kafkaStore: a.kafka.PID, influxStore: a.influx.PID, postgresStore: func() int { return 0 }}
	if alive[store]() == 0 { // what runs still is taken as it is
		a.restartServer(t, store)
	}
}

func (a *arena) redisMemory(t *testing.T, bytes string) {
	t.Helper()
	o, err := goredis.ParseURL(a.redis.URL())
	if err != nil {
		t.Fatal(err)
	}
	c := goredis.NewClient(o)
	defer func() { _ = c.Close() }()
	if err := c.ConfigSet(t.Context(), "maxmemory", bytes).Err(); err != nil {
		t.Fatal(err)
	}
}

// load opens the floor and lets robots drive, tasks come and commands go until the arena is stopped.
func (a *arena) load(t *testing.T, team int) {
	t.Helper()
	a.floor = &drill{process: a.process}
	stop := a.floor.open(t, team)
	robots, err := list[listedRobot](t.Context(), newClient(a.URL, a.Token), "/api/v1/robots")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range robots {
		a.robots = append(a.robots, r.ID)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range 3 {
		all.Go(func() { a.create(ctx, i) })
	}
	all.Go(func() { a.command(ctx) })
	a.end = append(a.end, func() { cancel(); all.Wait() }, stop)
}

// quiet ends the load, first the tasks, then the robots.
func (a *arena) quiet() {
	for _, end := range a.end {
		end()
	}
	a.end = nil
}

// create posts tasks, each under its key until it is acknowledged.
func (a *arena) create(ctx context.Context, worker int) {
	client := &http.Client{Timeout: 12 * time.Second}
	defer client.CloseIdleConnections()
	for i := 0; ctx.Err() == nil; i++ {
		n := worker*10_000_000 + i
		for ctx.Err() == nil {
			status, body := a.floor.create(client, n)
			var made struct {
				ID string `json:"task_id"`
			}
			if status == http.StatusCreated && json.Unmarshal(body, &made) == nil {
				a.mu.Lock()
				a.acked[made.ID] = strconv.Itoa(n)
				a.mu.Unlock()
				break
			}
			a.mu.Lock()
			a.refused++
			a.mu.Unlock()
			pause(ctx, 100*time.Millisecond)
		}
		pause(ctx, a.every)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// command sends pause and resume to robots, one after the other, and follows each to the robot's acknowledgement.
func (a *arena) command(ctx context.Context) {
	c := newClient(a.URL, a.Token)
	c.http.Timeout = 12 * time.Second
	defer c.http.CloseIdleConnections()
	rng := rand.New(rand.NewPCG(7, 7))
	for ctx.Err() == nil {
		robot := a.robots[rng.IntN(len(a.robots))]
		for _, what := range []string{"pause", "resume"} {
			s := stagedCommand{sent: time.Now()}
			s.took = a.follow(ctx, c, robot, what)
			a.mu.Lock()
			a.commands = append(a.commands, s)
			a.mu.Unlock()
			pause(ctx, 50*time.Millisecond)
		}
	}
}

func (a *arena) follow(ctx context.Context, c *client, robot, what string) time.Duration {
	began := time.Now()
	path := "/api/v1/robots/" + robot + "/commands"
	var made struct {
		ID string `json:"command_id"`
	}
	if err := c.call(ctx, http.MethodPost, path, "", map[string]any{"command": what}, &made); err != nil {
		return 0
	}
	for time.Since(began) < 10*time.Second && ctx.Err() == nil {
		var got struct {
			Stages []struct {
				Stage string    `json:"stage"`
				At    time.Time `json:"at"`
			} `json:"stages"`
		}
		if c.call(ctx, http.MethodGet, path+"/"+made.ID, "", nil, &got) == nil {
			for _, s := range got.Stages {
				if s.Stage == "acknowledged" {
					return max(time.Millisecond, s.At.Sub(began)) // one machine, one clock
				}
			}
		}
		pause(ctx, 20*time.Millisecond)
	}
	return 0
}

// commandP99 is how long commands took that were sent within a span, and how many were not acknowledged.
func (a *arena) commandP99(from, to time.Time) (p99 time.Duration, n, lost int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var took []time.Duration
	for _, s := range a.commands {
		if s.sent.Before(from) || s.sent.After(to) {
			continue
		}
		if n++; s.took == 0 {
			lost++
			continue
		}
		took = append(took, s.took)
	}
	if len(took) == 0 {
		return 0, n, lost
	}
	slices.Sort(took)
	return took[min(len(took)-1, len(took)*99/100)], n, lost
}

// health is what /readyz says of a dependency; "" = nothing, or there is no answer.
func (a *arena) health(ctx context.Context, store string) string {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+"/readyz", nil)
	if err != nil {
		return ""
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer func() { _ = res.Body.Close() }()
	var body struct {
		Dependencies map[string]string `json:"dependencies"`
		Error        struct {
			Details struct {
				Dependencies map[string]string `json:"dependencies"`
			} `json:"details"`
		} `json:"error"`
	}
	if json.NewDecoder(res.Body).Decode(&body) != nil {
		return ""
	}
	if body.Dependencies == nil {
		return body.Error.Details.Dependencies[store]
	}
	return body.Dependencies[store]
}

// told waits until /readyz says of a store what is so, and returns how long that took.
func (a *arena) told(t *testing.T, store string, want ...string) time.Duration {
	t.Helper()
	began, last := time.Now(), ""
	for time.Since(began) < 90*time.Second {
		if last = a.health(t.Context(), store); slices.Contains(want, last) {
			return time.Since(began)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("/readyz says %q of %s, want %v; the end of the log: %s", last, store, want, a.tail(3000))
	return time.Since(began)
}

// tail is the end of what the process has complained of.
func (a *arena) tail(n int) []byte {
	b, _ := os.ReadFile(a.output)
	var bad []byte
	for line := range bytes.Lines(b) {
		if !bytes.Contains(line, []byte(`"level":"info"`)) {
			bad = append(bad, line...)
		}
	}
	return bad[max(0, len(bad)-n):]
}

// rss is the memory of the engine's process, in bytes.
func (a *arena) rss() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		if text, ok := strings.CutPrefix(string(line), "VmRSS:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")), 10, 64)
			return kb << 10
		}
	}
	return 0
}

// killServer is kill -9 of a server, as a crash does it.
func (a *arena) killServer(t *testing.T, store string) {
	t.Helper()
	var err error
	switch store {
	case postgresStore:
		err = a.killPostgres(t.Context())
	case redisStore:
		err = a.redis.Kill()
	case kafkaStore:
		err = a.kafka.Kill()
	case influxStore:
		err = a.influx.Kill()
	}
	if err != nil {
		t.Fatalf("kill %s: %v", store, err)
	}
}

// restartServer brings it back at the same address with its data.
func (a *arena) restartServer(t *testing.T, store string) {
	t.Helper()
	var err error
	switch store {
	case postgresStore:
		_, port, _ := net.SplitHostPort(hostOf(t, a.pg.URL()))
		n, _ := strconv.Atoi(port)
		_, err = stack.Start(t.Context(), stack.Options{Dir: a.pgDir, Port: n})
	case redisStore:
		err = a.redis.StartAgain(t.Context())
	case kafkaStore:
		err = a.kafka.StartAgain(t.Context())
	case influxStore:
		err = a.influx.StartAgain(t.Context())
	}
	if err != nil {
		t.Fatalf("start %s again: %v", store, err)
	}
}

// killPostgres kills the postmaster; its children see that and end by themselves.
func (a *arena) killPostgres(ctx context.Context) error {
	var data string
	if err := a.rows.QueryRow(ctx, "SHOW data_directory").Scan(&data); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(string(b), "\n", 2)[0]))
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if syscall.Kill(pid, 0) != nil {
			a.rows.Reset()
			return nil
		}
	}
	return errors.New("the postmaster does not end")
}
