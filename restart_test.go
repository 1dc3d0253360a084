//go:build integration

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	linkv1 "starling/proto/gen/starling/link/v1"
)

// retrier is a client as the contract wants it: it asks again where nobody took the request (no connection, 503), and
// calls everything else but success a failure.
type retrier struct {
	url     string
	token   string
	http    *http.Client
	stopped *atomic.Int64 // when the process was told to stop, unix nanoseconds; 0 = not yet

	sent, retried, drained int // drained: sent before the process was told to stop, answered well after it
	failures               []string
	tasks                  map[string]bool
}

// do sends one request until it is answered. Only what was not begun to be answered is sent again.
func (r *retrier) do(method, path, key string, body []byte) {
	deadline := time.Now().Add(40 * time.Second)
	for {
		r.sent++
		began := time.Now()
		status, answer, unanswered, err := r.once(method, path, key, body)
		switch {
		case err == nil && status < 300:
			if at := r.stopped.Load(); at > 0 && began.UnixNano() < at && time.Now().UnixNano() > at {
				r.drained++
			}
			var t struct {
				ID string `json:"task_id"`
			}
			if key != "" && json.Unmarshal(answer, &t) == nil {
				r.tasks[t.ID] = true
			}
			return
		case time.Now().After(deadline):
			r.failures = append(r.failures, fmt.Sprintf("%s %s was not answered within 40 s", method, path))
			return
		case err == nil && status == http.StatusServiceUnavailable, err != nil && unanswered:
			r.retried++
			time.Sleep(200 * time.Millisecond)
		default:
			r.failures = append(r.failures, fmt.Sprintf("%s %s: %d %.200s %v", method, path, status, answer, err))
			return
		}
	}
}

func (r *retrier) once(method, path, key string, body []byte) (status int, answer []byte, unanswered bool, err error) {
	var begun atomic.Bool
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{GotFirstResponseByte: func() { begun.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, false, err
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := r.http.Do(req)
	if err != nil {
		var timeout net.Error
		return 0, nil, !begun.Load() && !(errors.As(err, &timeout) && timeout.Timeout()), err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err = io.ReadAll(res.Body)
	return res.StatusCode, answer, false, err
}

// listener waits for the closing that a robot's stream is told of.
func (d *drill) listener(t *testing.T, robot string) <-chan string {
	t.Helper()
	conn, err := grpc.NewClient(d.Link, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+d.Token)
	s, err := linkv1.NewLinkClient(conn).Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	hello := &linkv1.Hello{ProtocolVersion: 1, WarehouseId: d.warehouse, Robots: []*linkv1.RobotHello{{RobotCode: robot, BootId: "b"}}}
	if err := s.Send(&linkv1.Uplink{Frame: &linkv1.Uplink_Hello{Hello: hello}}); err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 1)
	go func() { // ends with the stream
		for {
			m, err := s.Recv()
			if err != nil {
				told <- "without a word: " + err.Error()
				return
			}
			if m.GetClosing() != nil {
				told <- ""
				return
			}
		}
	}()
	return told
}

// Stopped and started again under load, the engine loses no request of clients that retry as they should; requests in
// flight are finished, streams are told, and every task that was acknowledged is there once.
func TestARestartFailsNoRequest(t *testing.T) {
	const clients, team = 8, 20
	d := &drill{process: newProcess(t)}
	d.start(t)
	stop := d.open(t, team)
	defer stop()
	c := newClient(d.URL, d.Token)
	spare := map[string]any{"warehouse_id": d.warehouse, "robot_code": "listener", "protocol": "link", "max_speed_mps": 1, "footprint_radius_m": 0.3}
	if err := c.call(t.Context(), http.MethodPost, "/api/v1/robots", "", spare, nil); err != nil {
		t.Fatal(err)
	}
	told := d.listener(t, "listener")
	var stopped atomic.Int64
	done := make(chan struct{})
	all := make([]*retrier, clients)
	var working sync.WaitGroup
	for i := range all {
		r := &retrier{
			url: d.URL, token: d.Token, http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}},
			stopped: &stopped, tasks: map[string]bool{},
		}
		all[i] = r
		working.Go(func() {
			defer r.http.CloseIdleConnections()
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				way := []string{strconv.Itoa(d.cells[(37*n+i)%len(d.cells)])}
				body, err := json.Marshal(map[string]any{"task_type": "patrol", "warehouse_id": d.warehouse, "payload": map[string]any{"waypoints": way}})
				if err != nil {
					t.Error(err)
					return
				}
				r.do(http.MethodPost, "/api/v1/tasks", fmt.Sprintf("restart-%d-%d", i, n), body)
				r.do(http.MethodGet, "/api/v1/robots?limit=500", "", nil)
				r.do(http.MethodGet, "/api/v1/tasks?limit=100", "", nil)
			}
		})
	}
	time.Sleep(4 * time.Second)
	stopped.Store(time.Now().UnixNano())
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("the process ended badly: %v", err)
	}
	drain := time.Since(time.Unix(0, stopped.Load()))
	d.start(t)
	time.Sleep(4 * time.Second)
	close(done)
	working.Wait()
	var sent, retried, drained int
	tasks := map[string]bool{}
	for _, r := range all {
		sent, retried, drained = sent+r.sent, retried+r.retried, drained+r.drained
		for _, f := range r.failures {
			t.Error(f)
		}
		for id := range r.tasks {
			tasks[id] = true
		}
	}
	if n := d.tasks(t, ""); n != len(tasks) {
		t.Errorf("%d tasks were acknowledged, the engine has %d", len(tasks), n)
	}
	if retried == 0 || drained == 0 {
		t.Errorf("%d requests were retried, %d were answered while the process stopped: this test shows nothing", retried, drained)
	}
	select {
	case word := <-told:
		if word != "" {
			t.Errorf("a stream ended %s", word)
		}
	case <-time.After(5 * time.Second):
		t.Error("a stream was not told that the engine stops")
	}
	t.Logf("%d requests, %d of them retried, %d answered while the process stopped; %d tasks; the process stopped in %s",
		sent, retried, drained, len(tasks), drain.Round(time.Millisecond))
}

// A client that never ends its request does not keep the process: it stops within its bound.
func TestAStopIsBounded(t *testing.T) {
	d := &drill{process: newProcess(t)}
	d.start(t)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(d.port)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", d.Token); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	began := time.Now()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("the process ended badly: %v", err)
	}
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("it stopped after %s", took)
	}
}
