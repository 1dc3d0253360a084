// Package oneserver is the command line that the commands for one server share: `NAME ensure|run [--port N] [DIR]`.
package oneserver

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
)

// Server is one that runs.
type Server interface {
	Stop() error
	Remove() error
}

// Command is the program of one server.
type Command struct {
	Name string
	// Ensure gets what is missing.
	Ensure func(ctx context.Context, w io.Writer) error
	// Start starts a server and says what its clients need.
	Start func(ctx context.Context, o Options) (Server, map[string]any, error)
}

// Options says how Start is to start it.
type Options struct {
	Dir     string
	Port    int
	Guarded bool
	Log     *slog.Logger
}

// Main runs the command and ends the process. Exit codes: 0 done, 1 failed, 2 wrong usage.
func Main(c Command) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := c.run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	stop()
	usage := c.usage()
	switch {
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %v\n", c.Name, err)
		os.Exit(1)
	}
}

type usageError string

func (e usageError) Error() string { return string(e) }

func (c Command) usage() usageError {
	return usageError("usage: " + c.Name + " ensure|run [--port N] [DIR]")
}

func (c Command) run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return c.usage()
	}
	flags := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	port := flags.Int("port", 0, "port on 127.0.0.1; 0 = any free one")
	if err := flags.Parse(args[1:]); err != nil || flags.NArg() > 1 {
		return c.usage()
	}
	switch args[0] {
	case "ensure":
		return c.Ensure(ctx, os.Stderr)
	case "run":
		return c.serve(ctx, flags.Arg(0), *port, in, out)
	}
	return c.usage()
}

func (c Command) serve(ctx context.Context, dir string, port int, in io.Reader, out io.Writer) (err error) {
	kept := dir != ""
	if !kept {
		if dir, err = os.MkdirTemp("", "starling-"+c.Name+"-"); err != nil {
			return fmt.Errorf("make a folder: %w", err)
		}
	}
	s, about, err := c.Start(ctx, Options{Dir: dir, Port: port, Guarded: !kept, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		if !kept {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return err
	}
	end := s.Remove
	if kept {
		end = s.Stop
	}
	defer func() { err = errors.Join(err, end()) }()
	if err := json.NewEncoder(out).Encode(about); err != nil {
		return fmt.Errorf("say where it is: %w", err)
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
