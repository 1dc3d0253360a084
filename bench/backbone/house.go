package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"starling/deploy/stack"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/persistence/postgres"
)

// house is all that runs.
type house struct {
	dir    string
	bin    string
	pg     *stack.Postgres
	redis  *stack.Redis
	kafka  *stack.Kafka
	store  *postgres.Store
	shard  fleet.Shard
	robots []robot.Spec
	worker *exec.Cmd
}

func open(ctx context.Context, s settings) (h *house, err error) {
	h = &house{bin: s.bin}
	if h.dir, err = os.MkdirTemp("", "starling-backbone-"); err != nil {
		return h, err
	}
	if err := os.Chmod(h.dir, 0o755); err != nil { //nolint:gosec // the database's own user comes in
		return h, err
	}
	if h.bin == "" {
		h.bin = filepath.Join(h.dir, "starling")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", h.bin, ".").CombinedOutput(); err != nil {
			return h, fmt.Errorf("build starling: %w: %s", err, out)
		}
	}
	if h.bin, err = filepath.Abs(h.bin); err != nil {
		return h, err
	}
	if h.pg, err = stack.Start(ctx, stack.Options{Dir: filepath.Join(h.dir, "postgres"), Fast: s.fast}); err != nil {
		return h, err
	}
	if h.redis, err = stack.StartRedis(ctx, stack.RedisOptions{Dir: filepath.Join(h.dir, "redis"), Guarded: true}); err != nil {
		return h, err
	}
	if h.kafka, err = stack.StartKafka(ctx, stack.KafkaOptions{Dir: filepath.Join(h.dir, "kafka"), Guarded: true}); err != nil {
		return h, err
	}
	if _, err := postgres.Migrate(ctx, h.pg.URL(), "up"); err != nil {
		return h, err
	}
	if h.store, err = postgres.Open(ctx, postgres.Options{URL: h.pg.URL()}); err != nil {
		return h, err
	}
	return h, h.furnish(ctx, s.robots)
}

// furnish makes a tenant with a warehouse and robots.
func (h *house) furnish(ctx context.Context, robots int) error {
	h.shard = fleet.Shard{Tenant: fleet.TenantID(uuid.NewString()), Warehouse: fleet.WarehouseID(uuid.NewString())}
	if err := h.store.Tenants.CreateTenant(ctx, fact.Tenant{ID: h.shard.Tenant, Slug: "bench", Name: "Bench"}, nil); err != nil {
		return err
	}
	if err := h.store.Warehouses.CreateWarehouse(ctx, fact.Warehouse{ID: h.shard.Warehouse, Tenant: h.shard.Tenant, Code: "w", Name: "W", Timezone: "UTC"}, nil); err != nil {
		return err
	}
	units := make([]fact.Unit, 0, robots)
	for i := range robots {
		s := robot.Spec{
			ID: fleet.RobotID(uuid.NewString()), Tenant: h.shard.Tenant, Warehouse: h.shard.Warehouse, Code: fmt.Sprintf("amr-%05d", i), Fleet: "amr", Protocol: "link",
			RadiusM: 0.3, MaxSpeedMPS: 1.5, CreatedAt: time.Now().UTC(),
		}
		h.robots = append(h.robots, s)
		units = append(units, fact.Unit{Shard: h.shard, Facts: []fact.Fact{{
			ID: fleet.EventID(uuid.NewString()), At: s.CreatedAt, Subject: string(s.ID), Version: 1, Event: robot.Registered{Spec: s, Version: 1},
		}}})
	}
	return h.append(ctx, units)
}

// group is how many units a group commit takes, as the engine's journal writers do.
const group = 512

func (h *house) append(ctx context.Context, units []fact.Unit) error {
	for from := 0; from < len(units); from += group {
		if err := errors.Join(h.store.Append(ctx, units[from:min(from+group, len(units))])...); err != nil {
			return err
		}
	}
	return nil
}

// startWorker starts a process with the role worker, and waits until it pumps.
func (h *house) startWorker(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	log, err := os.OpenFile(filepath.Join(h.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	h.worker = exec.Command(h.bin, "serve", "--roles", "worker") //nolint:noctx // it is ended by close
	h.worker.Dir, h.worker.Stdout, h.worker.Stderr = h.dir, log, log
	h.worker.Env = append(os.Environ(), "ENV=dev", "CONFIG_PATH=", "DATABASE_URL="+h.pg.URL(), "REDIS_URL="+h.redis.URL(), "KAFKA_BROKERS="+strings.Join(h.kafka.Brokers(), ","),
		"DEV_ISSUER_ENABLED=true", "LOG_LEVEL=warn", "HTTP_PORT="+strconv.Itoa(port))
	if err := h.worker.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/readyz", port), nil)
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
	return fmt.Errorf("the worker is not ready: %s", b)
}

func (h *house) stopWorker() {
	if h.worker == nil {
		return
	}
	_ = h.worker.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(20*time.Second, func() { _ = h.worker.Process.Kill() })
	_ = h.worker.Wait()
	late.Stop()
	h.worker = nil
}

func (h *house) close() error {
	h.stopWorker()
	if h.store != nil {
		h.store.Close()
	}
	var errs []error
	if h.kafka != nil {
		errs = append(errs, h.kafka.Remove())
	}
	if h.redis != nil {
		errs = append(errs, h.redis.Remove())
	}
	if h.pg != nil {
		errs = append(errs, stack.Remove(context.Background(), filepath.Join(h.dir, "postgres")))
	}
	if h.dir != "" {
		errs = append(errs, os.RemoveAll(h.dir))
	}
	return errors.Join(errs...)
}

// usage is the CPU that each process has taken, in seconds.
type usage struct{ bench, worker, postgres, kafka, redis float64 }

func (h *house) usage() (u usage) {
	u.bench = cpu(os.Getpid(), false)
	if h.worker != nil {
		u.worker = cpu(h.worker.Process.Pid, false)
	}
	u.kafka, u.redis = cpu(h.kafka.PID(), false), cpu(h.redis.PID(), false)
	if pid := h.postmaster(); pid != 0 {
		u.postgres = cpu(pid, true)
		for _, child := range children(pid) {
			u.postgres += cpu(child, false)
		}
	}
	return u
}

func (h *house) postmaster() int {
	for _, dir := range []string{h.pg.Base(), filepath.Join(h.pg.Base(), "data")} {
		if b, err := os.ReadFile(filepath.Join(dir, "postmaster.pid")); err == nil {
			pid, _ := strconv.Atoi(strings.TrimSpace(strings.SplitN(string(b), "\n", 2)[0]))
			return pid
		}
	}
	return 0
}

// ticks is how many of the kernel's units of CPU time a second has.
const ticks = 100

// cpu is what a process has taken, with its ended children where wanted.
func cpu(pid int, ended bool) float64 {
	f := stat(pid)
	if len(f) < 15 {
		return 0
	}
	sum := 0
	for i, text := range f[11:15] { // utime, stime, cutime, cstime
		if n, err := strconv.Atoi(text); err == nil && (i < 2 || ended) {
			sum += n
		}
	}
	return float64(sum) / ticks
}

// stat is what the kernel tells of a process, from its state on.
func stat(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
}

func children(pid int) (out []int) {
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	for _, p := range all {
		n, err := strconv.Atoi(filepath.Base(p))
		if f := stat(n); err == nil && len(f) > 1 && f[1] == strconv.Itoa(pid) {
			out = append(out, n)
		}
	}
	return out
}
