package main

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

// within starts a server in this process.
func within(t *testing.T) *server {
	t.Helper()
	in, tell := io.Pipe()
	hear, out := io.Pipe()
	go func() { _ = serve(in, out) }() // ends with its input
	s := &server{in: tell, out: bufio.NewScanner(hear)}
	s.out.Buffer(nil, 1<<20)
	ready, err := s.answer()
	if err != nil {
		t.Fatal(err)
	}
	s.url, s.token = ready.URL, ready.Token
	t.Cleanup(func() { _ = tell.Close() })
	return s
}

func TestTheBenchMeasuresWhatArrives(t *testing.T) {
	t.Parallel()
	s, b := within(t), &bench{to: &bytes.Buffer{}, size: size{runs: 1, runFor: time.Second}}
	if _, err := s.tell(order{Do: "robots", N: 400}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.tell(order{Do: "broadcast", N: 1000, Every: 100}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.tell(order{Do: "tasks", N: 1, Every: 10}); err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]*wish{
		"binary": all("starling.v1.bin", 2), "JSON": part("starling.v1.json", 2, 1), "plain": plain(0),
		"tasks": {path: "/api/v1/ws", buffer: 4096, messages: []string{`{"op":"subscribe","id":1,"channel":"tasks"}`}},
	} {
		c := s.crowd()
		if err := c.join(t.Context(), 3, func(int) *wish { return w }); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		time.Sleep(time.Second)
		f, err := b.measure(s, c, 0)
		c.leave()
		if err != nil {
			t.Fatal(err)
		}
		if f.frames < 1 || f.bytes < f.frames*20 || f.cpu <= 0 || f.of < 3 || f.p99 < f.p50 || f.p99 > 5000 {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestQuantiles(t *testing.T) {
	t.Parallel()
	var l latencies
	for ms := range 1000 {
		l.add(time.Duration(ms) * time.Millisecond)
	}
	if l.at(0.5) != 500 || l.at(0.99) != 990 {
		t.Errorf("%v %v", l.at(0.5), l.at(0.99))
	}
	l.reset()
	l.add(time.Hour)
	if l.at(0.5) < 9999 {
		t.Errorf("%v", l.at(0.5))
	}
}

func TestEndsAreCounted(t *testing.T) {
	t.Parallel()
	got := ends(map[string]float64{"closed_total a": 1}, map[string]float64{"closed_total a": 3, "closed_total b": 1, "dropped_total robots": 7})
	if !strings.Contains(got, "2 a") || !strings.Contains(got, "1 b") || !strings.Contains(got, "7 deltas") {
		t.Error(got)
	}
}
