// Command postgres starts and stops a private PostgreSQL cluster from a shell:
//
//	go run ./deploy/stack/cmd/postgres ensure|start|stop|status|remove [--fast] [--port N] [DIR]
//
// start prints the DATABASE_URL as its last line. Exit codes: 0 done, 1 failed, 2 wrong usage; status
// of a cluster that does not run is 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"starling/deploy/stack"
)

var errUsage = errors.New("usage: postgres ensure|start|stop|status|remove [--fast] [--port N] [DIR]")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2) // nothing is left to release
	case err != nil:
		fmt.Fprintln(os.Stderr, "postgres:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet("postgres", flag.ContinueOnError)
	fast := flags.Bool("fast", false, "give up durability for speed (tests)")
	port := flags.Int("port", 0, "port on 127.0.0.1; 0 = any free one")
	if err := flags.Parse(args[1:]); err != nil || flags.NArg() > 1 {
		return errUsage
	}
	dir := ".starling/postgres"
	if flags.NArg() == 1 {
		dir = flags.Arg(0)
	}
	switch args[0] {
	case "ensure":
		return stack.Ensure(ctx, os.Stderr)
	case "start":
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		p, err := stack.Start(ctx, stack.Options{Dir: dir, Port: *port, Fast: *fast, Log: log})
		if err != nil {
			return err
		}
		fmt.Println(p.URL())
		return nil
	case "stop":
		p, running, err := stack.Find(ctx, dir)
		if err != nil || !running {
			return err
		}
		return p.Stop()
	case "status":
		return status(ctx, dir)
	case "remove":
		return stack.Remove(ctx, dir)
	}
	return errUsage
}

func status(ctx context.Context, dir string) error {
	p, running, err := stack.Find(ctx, dir)
	if err != nil {
		return err
	}
	if !running {
		return fmt.Errorf("the cluster in %s does not run", dir)
	}
	fmt.Println(p.URL())
	return nil
}
