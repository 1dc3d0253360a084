// Command stack runs all servers that Starling can use, on loopback, from a shell:
//
//	go run ./deploy/stack/cmd/stack ensure|up|down|status|remove [DIR]
//
// ensure gets whatever is missing. up starts what does not run yet and prints the name of the file with their addresses
// and secrets, for a shell's `.`. down stops them; their data stay. status lists what runs; remove stops them and
// deletes DIR, which is .starling-stack unless it is given. Exit codes: 0 done, 1 failed, 2 wrong usage; status of a
// stack of which not all runs is 1.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"starling/deploy/stack"
)

const servers = 6

var errUsage = errors.New("usage: stack ensure|up|down|status|remove [DIR]")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2) // nothing is left to release
	case err != nil:
		fmt.Fprintln(os.Stderr, "stack:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	dir := ".starling-stack"
	switch len(args) {
	case 1:
	case 2:
		dir = args[1]
	default:
		return errUsage
	}
	switch args[0] {
	case "ensure":
		return stack.EnsureAll(ctx, os.Stderr)
	case "up":
		if err := stack.Up(ctx, dir, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
			return err
		}
		fmt.Println(stack.EnvFile(dir))
		return nil
	case "down":
		return stack.Down(ctx, dir)
	case "status":
		return status(ctx, dir)
	case "remove":
		return stack.RemoveAll(ctx, dir)
	}
	return errUsage
}

func status(ctx context.Context, dir string) error {
	all, err := stack.Running(ctx, dir)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Printf("%-10s process %d\n", name, all[name])
	}
	if len(all) < servers {
		return fmt.Errorf("%d of %d servers run", len(all), servers)
	}
	return nil
}
