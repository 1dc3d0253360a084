package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	linkv1 "starling/proto/gen/starling/link/v1"
)

// din is the noisy tenant's load.
type din struct {
	job
	client   *client
	on       atomic.Bool
	answered [6]atomic.Int64 // by hundreds of the status; 0 = no answer
	refused  atomic.Int64    // 429
	sent     atomic.Int64    // statuses
	told     atomic.Int64    // times that the engine asked for a slower rate
	asked    atomic.Pointer[float32]
}

// noisy obeys lines: the job, then go and pause, tell at the end.
func noisy(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	d := &din{}
	if !lines.Scan() {
		return io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(lines.Bytes(), &d.job); err != nil {
		return err
	}
	d.client = newClient(d.URL, d.Token)
	d.client.warehouse = d.Warehouse
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	opened := make(chan error, 1)
	all.Go(func() { d.link(ctx, opened) })
	if err := <-opened; err != nil {
		return err
	}
	const workers = 50
	for i := range workers {
		all.Go(func() { d.ask(ctx, i, time.Second*workers/time.Duration(d.Requests)) })
	}
	fmt.Fprintln(out, "ok")
	for lines.Scan() {
		switch lines.Text() {
		case "go":
			d.on.Store(true)
		case "pause":
			d.on.Store(false)
		case "tell":
			rate := float32(0)
			if r := d.asked.Load(); r != nil {
				rate = *r
			}
			fmt.Fprintf(out, "%d requests answered 2xx, %d answered 429, %d other; %d statuses sent; asked %d times to slow down, last to %.2f Hz a robot\n",
				d.answered[2].Load(), d.refused.Load(), d.answered[0].Load()+d.answered[3].Load()+d.answered[4].Load()+d.answered[5].Load(), d.sent.Load(), d.told.Load(), rate)
			continue
		}
		fmt.Fprintln(out, "ok")
	}
	return nil
}

// ask sends requests at a steady rate, whatever the answers.
func (d *din) ask(ctx context.Context, i int, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := i; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !d.on.Load() {
			continue
		}
		method, path, body := http.MethodGet, "/api/v1/tasks?limit=20", any(nil)
		switch n % kinds {
		case 0:
			method, path = http.MethodPost, "/api/v1/tasks"
			body = map[string]any{"task_type": "go_to", "warehouse_id": d.Warehouse, "payload": map[string]any{"dropoff": fmt.Sprint(n % (side * side))}}
		case 1:
			path = "/api/v1/robots/" + d.Robots[n%len(d.Robots)]
		}
		status, _, err := d.client.do(ctx, method, path, body)
		switch {
		case err != nil:
			d.answered[0].Add(1)
		case status == http.StatusTooManyRequests:
			d.refused.Add(1)
		default:
			d.answered[status/100].Add(1)
		}
	}
}

// link sends statuses of all robots over one stream, in frames of 100.
func (d *din) link(ctx context.Context, opened chan<- error) {
	opened <- func() error {
		conn, err := grpc.NewClient(d.Link, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		ss, err := linkv1.NewLinkClient(conn).Connect(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+d.Token))
		if err != nil {
			return err
		}
		h := &linkv1.Hello{ProtocolVersion: 1, WarehouseId: d.Warehouse}
		for i, id := range d.Robots {
			at := uint32(i * 4 % (side * side))
			h.Robots = append(h.Robots, &linkv1.RobotHello{RobotId: id, BootId: "b", Resume: &linkv1.Resume{AtVertex: &at}})
		}
		if err := ss.Send(&linkv1.Uplink{Frame: &linkv1.Uplink_Hello{Hello: h}}); err != nil {
			return err
		}
		m, err := ss.Recv()
		if err != nil {
			return err
		}
		var handles []uint32
		var refused []string
		for _, r := range m.GetWelcome().GetRobots() {
			if r.Refused != "" {
				refused = append(refused, r.Refused)
				continue
			}
			handles = append(handles, r.Handle)
		}
		if len(refused) > 0 {
			return fmt.Errorf("%d robots refused: %s", len(refused), strings.Join(refused[:1], ""))
		}
		go d.hear(ss)
		go d.report(ctx, ss, handles)
		return nil
	}()
}

func (d *din) hear(ss grpc.BidiStreamingClient[linkv1.Uplink, linkv1.Downlink]) {
	for {
		m, err := ss.Recv()
		if err != nil {
			return
		}
		if s := m.GetSampling(); s != nil {
			d.told.Add(1)
			d.asked.Store(&s.StatusHz)
		}
	}
}

// report goes on as before, whatever it is asked.
func (d *din) report(ctx context.Context, ss grpc.BidiStreamingClient[linkv1.Uplink, linkv1.Downlink], handles []uint32) {
	tick := time.NewTicker(time.Duration(int64(time.Second) * int64(len(handles)) / int64(d.Statuses)))
	defer tick.Stop()
	for seq := uint64(1); ; seq++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !d.on.Load() && seq%200 != 0 { // paused: a status now and then, so that the robots stay online
			continue
		}
		b, now := &linkv1.StatusBatch{}, time.Now().UnixMilli()
		for i, h := range handles {
			v := i * 4 % (side * side)
			b.Handle, b.Seq, b.TsMs = append(b.Handle, h), append(b.Seq, seq), append(b.TsMs, now)
			b.X, b.Y, b.Theta = append(b.X, float32(v%side)+.5), append(b.Y, float32(side-v/side)-.5), append(b.Theta, 0)
			b.VelocityMps, b.BatterySoc, b.State = append(b.VelocityMps, 0), append(b.BatterySoc, .5), append(b.State, linkv1.RobotState_ROBOT_STATE_IDLE)
		}
		if err := ss.Send(&linkv1.Uplink{Frame: &linkv1.Uplink_Statuses{Statuses: b}}); err != nil {
			return
		}
		d.sent.Add(int64(len(handles)))
	}
}
