package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"starling/gateway/auth"
	"starling/gateway/rest"
	"starling/persistence/postgres"
)

func newServeCmd() *cobra.Command {
	var roles []string
	cmd := &cobra.Command{
		Use:   "serve --roles gateway,engine,worker",
		Short: "Run in production: every dependency by its URL, any subset of roles",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, r := range roles {
				if r != roleGateway && r != roleEngine && r != roleWorker {
					return usageError{fmt.Errorf("unknown role %q: want %s, %s or %s", r, roleGateway, roleEngine, roleWorker)}
				}
			}
			slices.Sort(roles)
			return serve(cmd.Context(), slices.Compact(roles))
		},
	}
	cmd.Flags().StringSliceVar(&roles, "roles", []string{roleGateway, roleEngine, roleWorker}, "roles of this process")
	return cmd
}

// serve runs the roles until ctx is done or a part fails.
func serve(ctx context.Context, roles []string) error {
	c, faults := LoadConfig(os.Getenv, os.ReadFile)
	log := newLogger(os.Stdout, LogOptions{Level: c.LogLevel, Service: c.ServiceName, Env: c.Env, Version: buildVersion()})
	if faults.Any() {
		logFaults(ctx, log, faults)
		return serveFaults(ctx, wiring{Config: c, Log: log}, faults)
	}
	if c.DBAutoMigrate {
		if _, err := postgres.Migrate(ctx, c.DatabaseURL.Reveal(), "up"); err != nil {
			return err
		}
	}
	if err := postgres.CheckSchema(ctx, c.DatabaseURL.Reveal()); err != nil {
		return fmt.Errorf("check the database's schema (starling migrate up): %w", err)
	}
	w := wiring{Config: c, Log: log, Roles: roles}
	if c.DevIssuerEnabled {
		key, err := devKey(".starling")
		if err != nil {
			return err
		}
		w.DevKey = key
	}
	a, err := start(ctx, w)
	defer a.stop()
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-a.failed:
		return err
	}
}

// serveFaults answers for health and readiness, says what is wrong, and does nothing else.
func serveFaults(ctx context.Context, w wiring, f Faults) error {
	l, err := listen(ctx, w.Config.HTTPHost, w.Config.HTTPPort)
	if err != nil {
		return err
	}
	logStarted(ctx, w.Log, w.Config.HTTPPort)
	missing := f.Missing
	if missing == nil {
		missing = []string{}
	}
	invalid := f.Invalid
	if invalid == nil {
		invalid = []InvalidKey{}
	}
	a := &app{wiring: w, failed: make(chan error, 1)}
	// Whoever probes by TLS is answered by TLS, unless that is what is wrong.
	a.httpTLS, _ = newTLS(tlsFiles{cert: w.Config.HTTPCertFile, key: w.Config.HTTPKeyFile}, "http", w.Log, prometheus.NewRegistry())
	s := newHTTPServer(rest.New(rest.Options{Log: w.Log, Missing: missing, Invalid: invalid, Version: buildVersion()}), w.Log)
	go a.serve(s, l) // ends with Close
	select {
	case <-ctx.Done():
		return s.Close()
	case err := <-a.failed:
		return err
	}
}

// devKey reads the development issuer's key from a directory, or makes one, so that tokens outlive a restart.
func devKey(dir string) ([]byte, error) {
	path := filepath.Join(dir, "dev-issuer.pem")
	if key, err := os.ReadFile(path); err == nil {
		return key, nil
	}
	key, err := auth.NewKey()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	if err := os.WriteFile(path, key, 0o600); err != nil {
		return nil, fmt.Errorf("keep the development issuer's key: %w", err)
	}
	return key, nil
}

func newMigrateCmd() *cobra.Command {
	return &cobra.Command{
		Use:       "migrate up|down|status",
		Short:     "Bring the schema of DATABASE_URL up, take one migration back, or say where it stands",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"up", "down", "status"},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, faults := LoadConfig(os.Getenv, os.ReadFile)
			if err := faults.Only("DATABASE_URL", "DATABASE_URL"+fileSuffix, "CONFIG_PATH", "ENV").Err(); err != nil {
				return err
			}
			s, err := postgres.Migrate(cmd.Context(), c.DatabaseURL.Reveal(), args[0])
			if err != nil {
				return err
			}
			state := "clean"
			switch {
			case s.Dirty:
				state = "dirty"
			case s.UnderWay:
				state = "being migrated"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "schema %d of %d, %d to apply, %s\n", s.Version, s.Newest, s.Pending, state)
			return err
		},
	}
}

// oneOfFlag says that a flag's value is none of the choices.
func oneOfFlag(name, value string, choices []string) error {
	if slices.Contains(choices, value) {
		return nil
	}
	return usageError{fmt.Errorf("--%s: want one of %s", name, strings.Join(choices, ", "))}
}
