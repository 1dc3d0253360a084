package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"starling/persistence/jobs"
)

func newJobsCmd() *cobra.Command {
	group := &cobra.Command{Use: "jobs", Short: "Background jobs that have failed for good, in the Redis of REDIS_URL"}
	one := func(use, short string, do func(r *jobs.Runner, q jobs.Queue, id string) error) *cobra.Command {
		return &cobra.Command{
			Use: use + " QUEUE/ID", Short: short, Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error {
				q, id, ok := strings.Cut(args[0], "/")
				if !ok {
					return usageError{errors.New("want a job as `starling jobs list` lists it: QUEUE/ID")}
				}
				return withJobs(func(r *jobs.Runner) error { return do(r, jobs.Queue(q), id) })
			},
		}
	}
	group.AddCommand(
		&cobra.Command{
			Use: "list", Short: "The newest first", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return withJobs(func(r *jobs.Runner) error {
					list, err := r.Failures()
					if err != nil {
						return err
					}
					w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
					fmt.Fprintln(w, "QUEUE/ID\tTRIES\tLAST\tTENANT\tCAUSE")
					for _, f := range list {
						fmt.Fprintf(w, "%s/%s\t%d\t%s\t%s\t%s\n", f.Queue, f.ID, f.Tries, f.At.UTC().Format(time.RFC3339), f.Tenant, f.Cause)
					}
					return w.Flush()
				})
			},
		},
		one("retry", "Let one run once more", (*jobs.Runner).Retry),
		one("discard", "Forget one", (*jobs.Runner).Discard),
	)
	return group
}

// withJobs looks into the queues without serving any.
func withJobs(do func(*jobs.Runner) error) error {
	c, faults := LoadConfig(os.Getenv, os.ReadFile)
	if err := faults.Only("REDIS_URL", "REDIS_URL"+fileSuffix, "CONFIG_PATH", "ENV").Err(); err != nil {
		return err
	}
	if c.RedisURL.Reveal() == "" {
		return errors.New("REDIS_URL: missing")
	}
	r, err := jobs.Open(jobs.Options{URL: c.RedisURL.Reveal()})
	if err != nil {
		return err
	}
	return errors.Join(do(r), r.Close())
}
