package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/olahol/melody"
	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/gateway/auth"
	"starling/gateway/stream"
	"starling/gateway/view"
)

const (
	tenant    = fleet.TenantID("a0000000-0000-4000-8000-000000000001")
	warehouse = fleet.WarehouseID("10000000-0000-4000-8000-000000000001")
	side      = 100 // robots in a row, and metres between the rows are spacing
	spacing   = 10.0
)

// order is a line that the server is told on its standard input; it answers each with a line.
type order struct {
	Do    string `json:"do"` // robots, broadcast, stat
	N     int    `json:"n"`  // robots that change each second; bytes of a broadcast, 0 = none
	Every int    `json:"every_ms"`
}

// stat is what the server says of itself.
type stat struct {
	URL     string             `json:"url,omitempty"`
	Token   string             `json:"token,omitempty"`
	CPU     int64              `json:"cpu_us"`      // user and system, of the process
	RSS     int64              `json:"rss"`         // bytes, after a collection
	Memory  int64              `json:"memory"`      // bytes of heap and stacks in use, after a collection
	MaxRSS  int64              `json:"max_rss"`     // since the last stat
	Queued  int64              `json:"max_queued"`  // bytes on their way to clients, since the last stat
	Counted map[string]float64 `json:"counted"`     // the channel's metrics, by name and label
	Plain   int64              `json:"plain_sent"`  // messages that the plain broadcast has written
	Tasks   int64              `json:"transitions"` // that were recorded
}

// house is the server's side of the bench: the live channel over views that are filled with made-up robots, and beside it
// a plain melody that broadcasts.
type house struct {
	views    *view.Store
	registry *prometheus.Registry
	plain    *melody.Melody
	sent     atomic.Int64
	steps    atomic.Int64
	maxRSS   atomic.Int64
	queued   atomic.Int64

	mu    sync.Mutex
	ends  map[string]chan struct{} // of what runs beside, by name
	specs []*robot.Spec
}

// serve answers orders until their end.
func serve(in io.Reader, out io.Writer) error {
	key, err := auth.NewKey()
	if err != nil {
		return err
	}
	issuer, err := auth.NewDevIssuer(key, "http://issuer", "starling")
	if err != nil {
		return err
	}
	h := &house{views: view.New(), registry: prometheus.NewRegistry(), plain: melody.New(), ends: map[string]chan struct{}{}}
	channel := stream.New(stream.Options{
		Views: h.views, Auth: auth.NewGuard(auth.New(auth.Options{Issuer: "http://issuer", Audience: "starling", Keys: issuer}), nil), Log: slog.New(slog.DiscardHandler),
		Registerer: h.registry, Graph: func(fleet.Shard) *roadmap.Graph { return nil },
		Task: func(v *task.View) any {
			return map[string]any{"task_id": v.Spec.ID, "status": v.Status.String(), "version": v.Version, "reason": v.Reason}
		},
		FindTasks: func(context.Context, fleet.TenantID, []fleet.TaskID) ([]task.View, error) { return nil, nil },
	})
	h.plain.HandleSentMessageBinary(func(*melody.Session, []byte) { h.sent.Add(1) })
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it ends with the process
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/api/v1/", channel)
	mux.HandleFunc("/plain", func(w http.ResponseWriter, r *http.Request) { _ = h.plain.HandleRequest(w, r) })
	go func() { // ends with the process
		_ = (&http.Server{Handler: mux, ConnContext: stream.WithConn, ReadHeaderTimeout: time.Minute}).Serve(listener)
	}()
	go h.watch() // ends with the process
	token, _, err := issuer.Issue(auth.Grant{Tenant: tenant, Role: auth.Viewer, TTL: time.Hour, Subject: "bench"}, time.Now())
	if err != nil {
		return err
	}
	answer := json.NewEncoder(out)
	if err := answer.Encode(stat{URL: "ws://" + listener.Addr().String(), Token: token}); err != nil {
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return err
		}
		h.obey(o)
		if err := answer.Encode(h.stat(o.Do == "stat")); err != nil {
			return err
		}
	}
	return nil
}

func (h *house) obey(o order) {
	switch o.Do {
	case "robots":
		h.robots(o.N)
	case "tasks":
		h.beside("tasks", o.N > 0, time.Duration(o.Every)*time.Millisecond, func() {
			for range o.N {
				n := h.steps.Add(1)
				h.views.TaskChanged(fleet.Shard{Tenant: tenant, Warehouse: warehouse}, task.Created{}, &task.View{
					Spec:   task.Spec{ID: fleet.TaskID(fmt.Sprintf("e0000000-0000-4000-8000-%012d", (n-1)%500)), Shard: fleet.Shard{Tenant: tenant, Warehouse: warehouse}},
					Status: fleet.TaskExecuting, Version: (n-1)/500 + 1, Reason: strconv.FormatInt(time.Now().UnixMicro(), 10),
				})
			}
		})
	case "broadcast":
		message := make([]byte, max(8, o.N))
		for i := 8; i < len(message); i++ {
			message[i] = byte(i * 7)
		}
		h.beside("broadcast", o.N > 0, time.Duration(o.Every)*time.Millisecond, func() {
			b := append([]byte(nil), message...) // melody may not have written the last one yet
			binary.LittleEndian.PutUint64(b, uint64(time.Now().UnixMicro()))
			_ = h.plain.BroadcastBinary(b)
		})
	}
}

// beside runs f at an interval, in place of what ran under that name.
func (h *house) beside(name string, on bool, every time.Duration, f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if end := h.ends[name]; end != nil {
		close(end)
		delete(h.ends, name)
	}
	if !on {
		return
	}
	end := make(chan struct{})
	h.ends[name] = end
	go func() { // ends with end
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				f()
			}
		}
	}()
}

// robots lets n robots drive, each of which changes once a second, spread evenly over it. The first is the clock: it
// changes with every step, and its speed says when.
func (h *house) robots(n int) {
	for i := len(h.specs); i < n; i++ {
		h.specs = append(h.specs, &robot.Spec{
			ID: fleet.RobotID(fmt.Sprintf("c0000000-0000-4000-8000-%012d", i)), Code: fmt.Sprintf("r%05d", i), Warehouse: warehouse, Tenant: tenant,
			Protocol: "link", Fleet: "bench", Model: "made-up", MaxSpeedMPS: 2, RadiusM: 0.4, CreatedAt: time.Now(),
		})
	}
	const steps = 200 // a second
	next := 0
	shard := fleet.Shard{Tenant: tenant, Warehouse: warehouse}
	show := func(i int, now time.Time, speed float64) {
		turn := float64(now.UnixMilli()%60_000) / 60_000 * 2 * math.Pi
		h.views.ShowRobot(shard, &robot.View{
			ID: h.specs[i].ID, Spec: h.specs[i], Version: 1, Connection: fleet.Online, State: fleet.Moving, Located: true, Battery: 0.8, Velocity: speed,
			Pose:   fleet.Pose{X: float64(i%side)*spacing + 4*math.Cos(turn), Y: float64(i/side)*spacing + 4*math.Sin(turn), Theta: turn},
			Vertex: fleet.NoVertex, ReceivedAt: now,
		})
	}
	for i := range n {
		show(i, time.Now(), 1)
	}
	h.beside("robots", n > 0, time.Second/steps, func() {
		now := time.Now()
		for range n / steps {
			next = max(1, (next+1)%n)
			show(next, now, 1.5)
		}
		show(0, now, float64(now.UnixMilli()%1_000_000)/1000)
	})
}

// watch remembers the most that was in use.
func (h *house) watch() {
	for range time.Tick(50 * time.Millisecond) {
		h.maxRSS.Store(max(h.maxRSS.Load(), resident()))
		h.queued.Store(max(h.queued.Load(), int64(h.counted()["queued_bytes"])))
	}
}

func (h *house) counted() map[string]float64 {
	all, _ := h.registry.Gather()
	out := map[string]float64{}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "starling_stream_")
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			out[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return out
}

func (h *house) stat(full bool) stat {
	s := stat{Counted: h.counted(), Plain: h.sent.Load(), Tasks: h.steps.Load(), MaxRSS: h.maxRSS.Swap(0), Queued: h.queued.Swap(0)}
	s.CPU = spent() // before the collection, which is the bench's own
	if full {
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		s.RSS, s.Memory = resident(), int64(m.HeapInuse+m.StackInuse)
	}
	return s
}

// spent is the processor time that this process has used, in microseconds.
func spent() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Sec*1e6 + u.Utime.Usec + u.Stime.Sec*1e6 + u.Stime.Usec
}

// resident is how much memory the system has given to this process.
func resident() int64 {
	b, _ := os.ReadFile("/proc/self/statm")
	if f := strings.Fields(string(b)); len(f) > 1 {
		n, _ := strconv.ParseInt(f[1], 10, 64)
		return n * int64(os.Getpagesize())
	}
	return 0
}
