// Command neighbour measures what a noisy tenant costs a quiet one: the quiet one's requests (create a task, read it, list
// tasks) are timed alone and beside a tenant that sends 20 times its quota of requests and of the link's statuses, in
// phases of one run that take turns (A B A B …). A real process, PostgreSQL and Redis; the noisy clients are a process of
// their own at the lowest priority, as if they were on another machine. It ends by itself.
//
//	go run ./bench/neighbour [-phase 10s] [-rounds 5] [-out FILE]
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// settings of a run.
type settings struct {
	phase, settle time.Duration
	rounds        int
	quiet         int // requests a second
	requests      int // the noisy tenant's quota a second
	statuses      int
	times         int // of its quota that it sends
	out, bin      string
	fast          bool // the database does not wait for the disk
}

func main() {
	role := flag.String("role", "", "internal: noisy")
	var s settings
	flag.DurationVar(&s.phase, "phase", 10*time.Second, "how long a phase is timed")
	flag.DurationVar(&s.settle, "settle", 2*time.Second, "how long before that the load runs already")
	flag.IntVar(&s.rounds, "rounds", 5, "how many times A and B")
	flag.IntVar(&s.quiet, "quiet", 100, "the quiet tenant's requests a second")
	flag.IntVar(&s.requests, "requests", 50, "the noisy tenant's quota of requests a second")
	flag.IntVar(&s.statuses, "statuses", 1000, "the noisy tenant's quota of statuses a second")
	flag.IntVar(&s.times, "times", 20, "how many times its quotas the noisy tenant sends")
	flag.BoolVar(&s.fast, "fast", false, "let the database not wait for the disk: to tell what is the disk's and what the processor's")
	flag.StringVar(&s.out, "out", "", "write the figures to this file too")
	flag.StringVar(&s.bin, "bin", "", "a starling binary; empty = build one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *role == "noisy" {
		err = noisy(ctx, os.Stdin, os.Stdout)
	} else {
		err = run(ctx, s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "neighbour:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

// phase is what one phase has measured.
type phase struct {
	all    []time.Duration
	byKind [kinds][]time.Duration
	failed int
}

func run(ctx context.Context, s settings) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	var kept bytes.Buffer
	to := io.MultiWriter(os.Stdout, &kept)
	h, err := open(ctx, s)
	defer h.close()
	if err != nil {
		return err
	}
	fmt.Fprintf(to, "%s, %d cores, %s %s/%s, load average %s\n", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, loadAverage())
	fmt.Fprintf(to, "Quiet tenant: %d requests/s, a third each create, get, list. Noisy tenant: %d times its quota of %d requests/s (= %d/s)\nand of %d statuses/s (= %d/s over one stream). %d rounds of two phases of %v. One process of starling, PostgreSQL (waits for the disk: %t), Redis.\n",
		s.quiet, s.times, s.requests, s.times*s.requests, s.statuses, s.times*s.statuses, s.rounds, s.phase, !s.fast)
	fmt.Fprintf(to, "\n%-28s %8s %8s %8s %8s %8s %6s %9s\n", "phase", "n", "p50 ms", "p90", "p99", "max", "failed", "load avg")
	var alone, beside []phase
	for range s.rounds {
		for _, loud := range []bool{false, true} {
			p, err := h.phase(ctx, s, loud)
			if err != nil {
				return err
			}
			name := "A  alone"
			if loud {
				name = "B  beside the noisy tenant"
				beside = append(beside, p)
			} else {
				alone = append(alone, p)
			}
			row(to, name, p.all, p.failed)
		}
	}
	summary(to, alone, beside)
	if err := h.tell(to); err != nil {
		return err
	}
	if s.out != "" {
		return os.WriteFile(s.out, kept.Bytes(), 0o600)
	}
	return nil
}

func row(to io.Writer, name string, d []time.Duration, failed int) {
	fmt.Fprintf(to, "%-28s %8d %8.2f %8.2f %8.2f %8.2f %6d %9s\n", name, len(d), at(d, 0.5), at(d, 0.9), at(d, 0.99), at(d, 1), failed, strings.Fields(loadAverage())[0])
}

// summary compares all of A with all of B, and the medians of their phases.
func summary(to io.Writer, alone, beside []phase) {
	join := func(ps []phase, of func(phase) []time.Duration) (all []time.Duration) {
		for _, p := range ps {
			all = append(all, of(p)...)
		}
		return all
	}
	whole := func(p phase) []time.Duration { return p.all }
	fmt.Fprintln(to)
	row(to, "A  all", join(alone, whole), 0)
	row(to, "B  all", join(beside, whole), 0)
	for k, name := range kindNames {
		of := func(p phase) []time.Duration { return p.byKind[k] }
		row(to, "A  "+name, join(alone, of), 0)
		row(to, "B  "+name, join(beside, of), 0)
	}
	med := func(ps []phase, q float64) float64 {
		var v []float64
		for _, p := range ps {
			v = append(v, at(p.all, q))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	for _, q := range []struct {
		name string
		q    float64
	}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}} {
		a, b := at(join(alone, whole), q.q), at(join(beside, whole), q.q)
		fmt.Fprintf(to, "%s: %.2f ms alone, %.2f ms beside = %.2f times; medians of the phases %.2f and %.2f ms = %.2f times\n",
			q.name, a, b, b/a, med(alone, q.q), med(beside, q.q), med(beside, q.q)/med(alone, q.q))
	}
}

// at is a quantile in milliseconds.
func at(d []time.Duration, q float64) float64 {
	if len(d) == 0 {
		return 0
	}
	d = slices.Clone(d)
	slices.Sort(d)
	return d[min(len(d)-1, int(float64(len(d))*q))].Seconds() * 1000
}

func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(b)); len(f) > 2 {
		return strings.Join(f[:3], " ")
	}
	return "unknown"
}

// phase runs the quiet tenant's load and times it, beside the noisy one or alone.
func (h *house) phase(ctx context.Context, s settings, loud bool) (phase, error) {
	if loud {
		if err := h.order("go"); err != nil {
			return phase{}, err
		}
	}
	var p phase
	var mu sync.Mutex
	var all sync.WaitGroup
	began := time.Now()
	every := time.Second / time.Duration(s.quiet)
	for n := 0; ctx.Err() == nil; n++ {
		due := began.Add(time.Duration(n) * every)
		if due.Sub(began) > s.settle+s.phase {
			break
		}
		time.Sleep(time.Until(due))
		all.Go(func() { // open loop: a slow answer does not put off the next request; what it waited is in its time
			took, err := h.quiet.request(ctx, n)
			took += max(0, time.Since(due)-took) // that it was sent late is the machine's doing, and counts
			mu.Lock()
			defer mu.Unlock()
			switch {
			case due.Sub(began) < s.settle:
			case err != nil:
				p.failed++
			default:
				p.all = append(p.all, took)
				p.byKind[n%kinds] = append(p.byKind[n%kinds], took)
			}
		})
	}
	all.Wait()
	if loud {
		if err := h.order("pause"); err != nil {
			return p, err
		}
	}
	return p, ctx.Err()
}
