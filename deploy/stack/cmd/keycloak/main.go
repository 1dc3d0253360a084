// Command keycloak runs a private Keycloak with Starling's realm for a test suite or a developer:
//
//	go run ./deploy/stack/cmd/keycloak ensure|run [--port N] [DIR]
//
// ensure gets what is missing, once per machine. run starts one, prints one line of JSON
//
//	{"issuer","url","audience","pid","page_client","cli_client","service_client","service_secret","admin_user","admin_password",
//	 "users":[{"name","password","email","full_name","roles","tenants","robot_id","fleet"}]}
//
// when it is ready, and ends it when standard input ends, on SIGTERM or on ^C. Without DIR its data go to a folder of
// their own that goes with it. While it runs, the lines "stop" and "start" on standard input stop it and start it
// again (each is answered by a line {"stopped":true} or {"started":true}). Exit codes: 0 done, 1 failed, 2 wrong usage.
package main

import (
	"bufio"
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

var errUsage = errors.New("usage: keycloak ensure|run [--port N] [DIR]")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2) // nothing is left to release
	case err != nil:
		fmt.Fprintln(os.Stderr, "keycloak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet("keycloak", flag.ContinueOnError)
	port := flags.Int("port", 0, "port on 127.0.0.1; 0 = any free one")
	if err := flags.Parse(args[1:]); err != nil || flags.NArg() > 1 {
		return errUsage
	}
	switch args[0] {
	case "ensure":
		return stack.EnsureKeycloak(ctx, os.Stderr)
	case "run":
		return serve(ctx, flags.Arg(0), *port, in, out)
	}
	return errUsage
}

func serve(ctx context.Context, dir string, port int, in io.Reader, out io.Writer) (err error) {
	kept := dir != ""
	if !kept {
		if dir, err = os.MkdirTemp("", "starling-keycloak-"); err != nil {
			return fmt.Errorf("make a folder for Keycloak: %w", err)
		}
	}
	k, err := stack.StartKeycloak(ctx, stack.KeycloakOptions{Dir: dir, Port: port, Guarded: !kept, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		if !kept {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return err
	}
	end := k.Remove
	if kept {
		end = k.Stop
	}
	defer func() { err = errors.Join(err, end()) }()
	if err := describe(k, out); err != nil {
		return err
	}
	return obey(ctx, k, in, out)
}

func describe(k *stack.Keycloak, out io.Writer) error {
	users, err := stack.KeycloakUsers()
	if err != nil {
		return err
	}
	admin, password := k.Administrator()
	return json.NewEncoder(out).Encode(map[string]any{
		"issuer": k.Issuer(), "url": k.URL(), "audience": stack.KeycloakAudience, "pid": k.PID(), "users": users,
		"page_client": stack.KeycloakPage, "cli_client": stack.KeycloakCLI,
		"service_client": stack.KeycloakService, "service_secret": stack.KeycloakServiceSecret,
		"admin_user": admin, "admin_password": password,
	})
}

// obey follows the lines of in until in or ctx ends.
func obey(ctx context.Context, k *stack.Keycloak, in io.Reader, out io.Writer) error {
	lines := make(chan string)
	go func() { // ends with the process: a read of standard input cannot be interrupted
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			lines <- s.Text()
		}
	}()
	for {
		var done string
		var err error
		select {
		case <-ctx.Done():
			return nil
		case line, more := <-lines:
			switch {
			case !more:
				return nil
			case line == "stop":
				done, err = "stopped", k.Stop()
			case line == "start":
				done, err = "started", k.StartAgain(ctx)
			default:
				err = fmt.Errorf("unknown command %q", line)
			}
		}
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "{%q:true}\n", done); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
}
