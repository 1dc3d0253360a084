// Command redis runs a private Redis for a test suite or a developer:
//
//	go run ./deploy/stack/cmd/redis ensure|run [--port N] [DIR]
//
// ensure installs it where it is missing. run starts one, prints one line of JSON {"url","pid"} when it answers, and
// ends it when standard input ends, on SIGTERM or on ^C. Without DIR its data go to a folder of their own that goes
// with it. Exit codes: 0 done, 1 failed, 2 wrong usage.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"starling/deploy/stack"
)

var errUsage = errors.New("usage: redis ensure|run [--port N] [DIR]")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2) // nothing is left to release
	case err != nil:
		fmt.Fprintln(os.Stderr, "redis:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet("redis", flag.ContinueOnError)
	port := flags.Int("port", 0, "port on 127.0.0.1; 0 = any free one")
	if err := flags.Parse(args[1:]); err != nil || flags.NArg() > 1 {
		return errUsage
	}
	switch args[0] {
	case "ensure":
		return stack.EnsureRedis(ctx, os.Stderr)
	case "run":
		return serve(ctx, flags.Arg(0), *port, in, out)
	}
	return errUsage
}

func serve(ctx context.Context, dir string, port int, in io.Reader, out io.Writer) (err error) {
	kept := dir != ""
	if !kept {
		if dir, err = os.MkdirTemp("", "starling-redis-"); err != nil {
			return fmt.Errorf("make a folder for Redis: %w", err)
		}
	}
	r, err := stack.StartRedis(ctx, stack.RedisOptions{Dir: dir, Port: port, Guarded: !kept, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		if !kept {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return err
	}
	end := r.Remove
	if kept {
		end = r.Stop
	}
	defer func() { err = errors.Join(err, end()) }()
	if err := json.NewEncoder(out).Encode(map[string]any{"url": r.URL(), "pid": r.PID()}); err != nil {
		return fmt.Errorf("say where Redis is: %w", err)
	}
	ended := make(chan struct{})
	go func() { // ends with the process: a read of standard input cannot be interrupted
		_, _ = io.Copy(io.Discard, in)
		close(ended)
	}()
	select {
	case <-ctx.Done():
	case <-ended:
	}
	return nil
}
