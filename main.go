// Command starling is a fleet manager for warehouse robots: one binary with a role per process. This
// package is the roof: commands, configuration, logs and the only place where rooms are wired together. It holds
// no rule of the domain.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes of every command.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// version is set by the linker (-X main.version=…); empty = what the build knows of its source.
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, commands()...)
	stop()
	os.Exit(code)
}

// commands returns what the program can do, in the order of its help.
func commands() []*cobra.Command {
	return []*cobra.Command{newDevCmd(), newServeCmd(), newMigrateCmd(), newSimCmd(), newBenchCmd(), newTokenCmd(), newMapCmd(), newReplayCmd(), newDeadLettersCmd(), newAlertsCmd(), newJobsCmd(), newVersionCmd()}
}

// usageError marks an error of a command as wrong usage: exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// run executes the program with args and returns its exit code. An error before the command's own work
// began (unknown command or flag, wrong arguments, a required flag left out) is wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, cmds ...*cobra.Command) int {
	began := false
	root := newRootCmd()
	root.AddCommand(cmds...)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	watch(root, &began)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	fmt.Fprintln(stderr, "starling:", err)
	if usage := (usageError{}); !began || errors.As(err, &usage) {
		fmt.Fprintln(stderr, "Run 'starling --help' for usage.")
		return exitUsage
	}
	return exitFailed
}

// watch notes when the work of any command begins, and lets no command take arguments that it did not ask for.
func watch(cmd *cobra.Command, began *bool) {
	if work := cmd.RunE; work != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*began = true
			return work(cmd, args)
		}
		if cmd.Args == nil {
			cmd.Args = cobra.NoArgs
		}
	}
	for _, sub := range cmd.Commands() {
		watch(sub, began)
		if sub.HasSubCommands() && !sub.Runnable() {
			sub.Args = cobra.ArbitraryArgs
			sub.RunE = wantSubcommand
		}
	}
}

// wantSubcommand is the work of a group of commands called without one of them.
func wantSubcommand(cmd *cobra.Command, _ []string) error {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return usageError{fmt.Errorf("%s: want one of its commands: %s", cmd.CommandPath(), strings.Join(names, ", "))}
}

func newRootCmd() *cobra.Command {
	return &cobra.Command{
		Use:           "starling",
		Short:         "Fleet manager for warehouse robots",
		Version:       buildVersion(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
}

func newVersionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "starling", buildVersion())
			return err
		},
	}
}

// buildVersion is the release, or the commit that the binary was built from, or "devel".
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}
