package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"starling/gateway/auth"
)

func newTokenCmd() *cobra.Command {
	var tenant, role, robotID, fleetName, base string
	cmd := &cobra.Command{
		Use:   "token --tenant T --role R",
		Short: "A development token from the development issuer of a running process, alone on the last line",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if env := os.Getenv("ENV"); env != "" && env != envDev {
				return errors.New("development tokens are refused outside ENV=dev")
			}
			if err := oneOfFlag("role", role, auth.Roles()); err != nil {
				return err
			}
			body := map[string]string{"role": role, "robot": robotID, "fleet": fleetName}
			if len(tenant) == 36 {
				body["tenant"] = tenant
			} else {
				body["tenant_slug"] = tenant
			}
			var out struct {
				Token string `json:"access_token"`
			}
			if err := newClient(base, "").call(cmd.Context(), http.MethodPost, "/dev/token", "", body, &out); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), out.Token)
			return err
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "tenant id or slug (platform_admin: none)")
	cmd.Flags().StringVar(&role, "role", auth.Operator, "viewer, operator, admin, robot, service or platform_admin")
	cmd.Flags().StringVar(&robotID, "robot", "", "robot id, for the role robot")
	cmd.Flags().StringVar(&fleetName, "fleet", "", "fleet, for the role robot")
	cmd.Flags().StringVar(&base, "url", "http://127.0.0.1:8080", "URL of the process")
	return cmd
}

// bearer is the token that a flag says, else that of the environment: as the flag's default, help would show it.
func bearer(flag string) string { return cmp.Or(flag, os.Getenv("STARLING_TOKEN")) }

func newMapCmd() *cobra.Command {
	group := &cobra.Command{Use: "map", Short: "Maps of a running engine"}
	var format, base, token, warehouse, name string
	var resM float64
	var activate bool
	cmd := &cobra.Command{
		Use:   "import FILE --warehouse W",
		Short: "Upload a map; prints its id and report",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOfFlag("format", format, []string{"movingai", "lorr", "starling"}); err != nil {
				return err
			}
			b, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			var content any = string(b)
			if format == "starling" {
				if err := json.Unmarshal(b, &content); err != nil {
					return fmt.Errorf("read %s: it is not JSON", args[0])
				}
			}
			if name == "" {
				name = filepath.Base(args[0])
			}
			id, report, err := newClient(base, bearer(token)).upload(cmd.Context(), warehouse, name, format, content, resM, activate)
			if id != "" {
				fmt.Fprintln(cmd.OutOrStdout(), string(report))
				fmt.Fprintln(cmd.OutOrStdout(), id)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&format, "format", "lorr", "movingai, lorr or starling")
	f.StringVar(&base, "url", "http://127.0.0.1:8080", "URL of the engine")
	f.StringVar(&token, "token", "", "bearer token of an admin (or STARLING_TOKEN)")
	f.StringVar(&warehouse, "warehouse", "", "warehouse id")
	f.StringVar(&name, "name", "", "name of the map (default: the file's)")
	f.Float64Var(&resM, "resolution", 1, "metres of a grid cell")
	f.BoolVar(&activate, "activate", false, "activate it at once")
	_ = cmd.MarkFlagRequired("warehouse")
	group.AddCommand(cmd)
	return group
}

// progressEvery is how often long work says how it goes.
const progressEvery = 5 * time.Second

func newSimCmd() *cobra.Command {
	var o simOptions
	var many manyOptions
	cmd := &cobra.Command{
		Use:   "sim --url U --link ADDR --token T --warehouse W --robots N | sim --scenario NAME|FILE | sim --list",
		Short: "Virtual robots that connect to a running engine like real ones; or a scenario, played in this process",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Token = bearer(o.Token)
			switch {
			case o.List:
				return listScenarios(cmd.OutOrStdout())
			case o.Warehouse == "" && o.Scenario != "" && !cmd.Flags().Changed("url"):
				return playScenario(o, cmd.OutOrStdout())
			case o.Warehouse == "" && !cmd.Flags().Changed("url"):
				return many.simulate(cmd.Context(), o, cmd.OutOrStdout())
			case o.Warehouse == "":
				return usageError{errors.New("--warehouse is needed with a running engine; --scenario NAME alone plays a scenario here")}
			}
			return simulate(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.URL, "url", "http://127.0.0.1:8080", "URL of the engine")
	f.StringVar(&o.Link, "link", "127.0.0.1:8081", "address of its robot link")
	f.StringVar(&o.Token, "token", "", "bearer token of an admin (or STARLING_TOKEN)")
	f.StringVar(&o.Warehouse, "warehouse", "", "warehouse id")
	f.IntVar(&o.Robots, "robots", 50, "how many")
	f.Uint64Var(&o.Seed, "seed", 1, "of start places, delays and batteries")
	f.DurationVar(&o.StatusEvery, "status-every", time.Second, "how often each reports; after 5 s without a word a robot counts as stale")
	f.StringVar(&o.LinkCA, "link-ca", "", "PEM authorities of the link's certificate; with any of these three the link is spoken by TLS")
	f.StringVar(&o.LinkCert, "link-cert", "", "PEM client certificate that names the robots' fleet, beside the token")
	f.StringVar(&o.LinkKey, "link-key", "", "its key")
	f.StringVar(&o.Scenario, "scenario", "", "with --warehouse: JSON file with motion, delayConfig and faults; alone: name or file of a scenario to play here")
	f.BoolVar(&o.List, "list", false, "list the scenarios")
	f.BoolVar(&o.JSON, "json", false, "of a scenario: moves and waits as JSON lines instead of the trace")
	f.StringVar(&o.Out, "out", "", "of a scenario: write the recording for the page's player to this file")
	many.flags(cmd)
	return cmd
}

// waitHealthy waits until a process answers.
func waitHealthy(ctx context.Context, c *client) error {
	for {
		err := c.call(ctx, http.MethodGet, "/readyz", "", nil, nil)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}
