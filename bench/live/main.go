// Command live measures the live channel on loopback: processor time per delivered frame, memory per client, how old a
// frame is when it arrives, beside a plain broadcast of as many bytes by the same library, and what bad clients do to
// good ones. The server runs in a process of its own, so that its time is told apart from the clients'. It ends by itself.
//
//	go run ./bench/live [-short] [-only PARTS] [-out FILE]
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	role := flag.String("role", "", "internal: server")
	short := flag.Bool("short", false, "few clients, for seconds: to see that it works")
	only := flag.String("only", "memory,delivery,many,events,bad", "the parts to run")
	out := flag.String("out", "", "write the figures to this file too")
	flag.Parse()
	raiseFiles()
	var err error
	if *role == "server" {
		err = serve(os.Stdin, os.Stdout)
	} else {
		err = run(*short, *only, *out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "live:", err)
		os.Exit(1)
	}
}

// raiseFiles lets this process have as many connections as the system allows.
func raiseFiles() {
	const want = 30_000
	l := syscall.Rlimit{Cur: want, Max: want}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
		return
	}
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
		l.Cur = l.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	}
}

func run(short bool, only, out string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	var kept bytes.Buffer
	b := &bench{to: io.MultiWriter(os.Stdout, &kept), size: full}
	if short {
		b.size = small
	}
	b.say("%s, %d cores, %s %s/%s, load average %s", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, loadAverage())
	b.say("Server and clients on loopback, each in a process of its own, on the same cores. Medians of %d runs of %v.", b.size.runs, b.size.runFor)
	parts := map[string]func(context.Context) error{"memory": b.memory, "delivery": b.delivery, "many": b.many, "events": b.events, "bad": b.bad}
	for name := range strings.SplitSeq(only, ",") {
		part := parts[name]
		if part == nil {
			return fmt.Errorf("there is no part %q", name)
		}
		if err := part(ctx); err != nil {
			return err
		}
	}
	b.say("\nLoad average at the end: %s", loadAverage())
	if out != "" {
		return os.WriteFile(out, kept.Bytes(), 0o600)
	}
	return nil
}

func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(b)); len(f) > 2 {
		return strings.Join(f[:3], " ")
	}
	return "unknown"
}

// size is how much is done.
type size struct {
	robots, some, many int // robots; clients
	runs               int
	runFor             time.Duration
}

//nolint:gochecknoglobals // two tables that nothing writes
var (
	full  = size{robots: 10_000, some: 1000, many: 10_000, runs: 3, runFor: 8 * time.Second}
	small = size{robots: 1000, some: 20, many: 50, runs: 1, runFor: 2 * time.Second}
)

// bench is a run of all parts.
type bench struct {
	to   io.Writer
	size size
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.to, format+"\n", args...) }

// server is the other process.
type server struct {
	url, token string
	cmd        *exec.Cmd
	in         io.WriteCloser
	out        *bufio.Scanner
}

// start starts a server of its own for a part, so that none inherits another's memory.
func start(ctx context.Context) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &server{cmd: exec.CommandContext(ctx, self, "-role", "server")}
	s.cmd.Stderr = os.Stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = bufio.NewScanner(out)
	s.out.Buffer(nil, 1<<20)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	ready, err := s.answer()
	s.url, s.token = ready.URL, ready.Token
	return s, err
}

func (s *server) answer() (stat, error) {
	var st stat
	if !s.out.Scan() {
		return st, fmt.Errorf("the server has gone: %w", io.ErrUnexpectedEOF)
	}
	return st, json.Unmarshal(s.out.Bytes(), &st)
}

func (s *server) tell(o order) (stat, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return stat{}, err
	}
	if _, err := s.in.Write(append(b, '\n')); err != nil {
		return stat{}, err
	}
	return s.answer()
}

func (s *server) stop() {
	_ = s.in.Close()
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func (s *server) crowd() *crowd { return &crowd{url: s.url, token: s.token} }

// figures of one run.
type figures struct {
	frames, bytes      float64 // a second
	cpu, net           float64 // microseconds a frame; without what the server needs with no clients
	p50, p99, p999, of float64 // milliseconds, and how many were measured
	clients            float64 // cores that the clients' process used
}

// idle is what the server uses with no clients, in microseconds a second.
func (b *bench) idle(s *server) (float64, error) {
	before, err := s.tell(order{Do: "mark"})
	if err != nil {
		return 0, err
	}
	began := time.Now()
	time.Sleep(b.size.runFor / 2)
	after, err := s.tell(order{Do: "mark"})
	return float64(after.CPU-before.CPU) / time.Since(began).Seconds(), err
}

// measure runs for a while, several times, and takes the median of each figure.
func (b *bench) measure(s *server, c *crowd, idle float64) (figures, error) {
	var all []figures
	for range b.size.runs {
		before, err := s.tell(order{Do: "mark"})
		if err != nil {
			return figures{}, err
		}
		mine, began := spent(), time.Now()
		c.begin()
		time.Sleep(b.size.runFor)
		c.measuring.Store(false)
		after, err := s.tell(order{Do: "mark"})
		if err != nil {
			return figures{}, err
		}
		took, frames := time.Since(began).Seconds(), float64(c.frames.Load())
		all = append(all, figures{
			frames: frames / took, bytes: float64(c.bytes.Load()) / took,
			cpu: float64(after.CPU-before.CPU) / max(1, frames), net: (float64(after.CPU-before.CPU) - idle*took) / max(1, frames),
			p50: c.latency.at(0.5), p99: c.latency.at(0.99), p999: c.latency.at(0.999), of: float64(c.latency.n.Load()),
			clients: float64(spent()-mine) / 1e6 / took,
		})
	}
	return figures{
		frames: median(all, func(f figures) float64 { return f.frames }), bytes: median(all, func(f figures) float64 { return f.bytes }),
		cpu: median(all, func(f figures) float64 { return f.cpu }), net: median(all, func(f figures) float64 { return f.net }), p50: median(all, func(f figures) float64 { return f.p50 }),
		p99: median(all, func(f figures) float64 { return f.p99 }), p999: median(all, func(f figures) float64 { return f.p999 }),
		of: median(all, func(f figures) float64 { return f.of }), clients: median(all, func(f figures) float64 { return f.clients }),
	}, nil
}

func median(all []figures, of func(figures) float64) float64 {
	v := make([]float64, len(all))
	for i, f := range all {
		v[i] = of(f)
	}
	slices.Sort(v)
	return v[len(v)/2]
}

func (b *bench) row(name string, f figures) {
	b.say("  %-50s %8.0f %9.1f %9.1f %9.1f %8.1f %8.1f %8.1f %8.1f", name, f.frames, f.bytes/max(1, f.frames)/1000, f.bytes/1e6, f.cpu, f.net, f.p50, f.p99, f.p999)
}

func (b *bench) heads() {
	b.say("  %-50s %8s %9s %9s %9s %8s %8s %8s %8s", "", "frames/s", "kB/frame", "MB/s", "us CPU/fr", "net", "p50 ms", "p99 ms", "p99.9")
}
