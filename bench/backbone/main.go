// Command backbone measures the way of facts and views through real servers: facts from the outbox to Kafka by a worker, as
// a backlog and while they are written, and the same with one job in Redis for each fact; snapshots into Postgres; views
// into Redis and out of it. Each figure has the CPU of each process beside it. Everything runs on this machine and ends
// with it.
//
//	go run ./bench/backbone [-facts 100000] [-seconds 20] [-robots 10000] [-out FILE]
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// settings of a run.
type settings struct {
	facts    int
	seconds  int
	robots   int
	out, bin string
	fast     bool // the database does not wait for the disk
}

func main() {
	var s settings
	flag.IntVar(&s.facts, "facts", 100_000, "facts of the backlog")
	flag.IntVar(&s.seconds, "seconds", 20, "how long each of the other measurements takes")
	flag.IntVar(&s.robots, "robots", 10_000, "robots of the snapshots and views")
	flag.BoolVar(&s.fast, "fast", false, "let the database not wait for the disk")
	flag.StringVar(&s.out, "out", "", "write the figures to this file too")
	flag.StringVar(&s.bin, "bin", "", "a starling binary; empty = build one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "backbone:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

func run(ctx context.Context, s settings) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	var kept bytes.Buffer
	to := io.MultiWriter(os.Stdout, &kept)
	h, err := open(ctx, s)
	defer func() { err = errors.Join(err, h.close()) }()
	if err != nil {
		return err
	}
	fmt.Fprintf(to, "%s, %d cores, %s %s/%s, load average %s\n", time.Now().UTC().Format("2006-01-02 15:04"), runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, loadAverage())
	fmt.Fprintf(to, "PostgreSQL (waits for the disk: %t), Kafka, Redis and starling on this machine; CPU in us of one core for each thing counted.\n\n", !s.fast)
	fmt.Fprintf(to, "%-44s %10s %9s %9s %9s %9s %9s %9s  %s\n", "", "per second", "bench", "worker", "postgres", "kafka", "redis", "all", "")
	for _, measure := range []func(context.Context, io.Writer, settings) error{
		h.backlog, h.sustained, h.oneJobEach, h.snapshots, h.viewWrites, h.viewReads, h.viewLists,
	} {
		if err := measure(ctx, to, s); err != nil {
			return err
		}
	}
	if s.out != "" {
		return os.WriteFile(s.out, kept.Bytes(), 0o600)
	}
	return nil
}

// row prints a figure with the CPU that each process took for each of n things.
func (h *house) row(to io.Writer, what string, n int, took time.Duration, before, after usage, remark string) {
	each := func(a, b float64) float64 { return (b - a) * 1e6 / float64(max(1, n)) }
	u := [5]float64{
		each(before.bench, after.bench), each(before.worker, after.worker), each(before.postgres, after.postgres),
		each(before.kafka, after.kafka), each(before.redis, after.redis),
	}
	all := 0.0
	for _, x := range u {
		all += x
	}
	fmt.Fprintf(to, "%-44s %10.0f %9.1f %9.1f %9.1f %9.1f %9.1f %9.1f  %s\n", what, float64(n)/took.Seconds(), u[0], u[1], u[2], u[3], u[4], all, remark)
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:3], " ")
}
