package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// BaseBackup copies the running cluster, with the WAL that makes the copy whole, into dir, as docs/runbook.md does it, and
// marks the copy for recovery: the next Start for dir, whose Settings name a restore_command and, for a moment in the past,
// a recovery_target, replays the archived WAL up to there. dir must hold no cluster; its owner ends it with Remove.
func (p *Postgres) BaseBackup(ctx context.Context, dir string) error {
	to, err := locate(ctx, dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to.base, 0o755); err != nil { // the account postgres must pass
		return fmt.Errorf("make the backup's folder: %w", err)
	}
	if err := errors.Join(os.Mkdir(to.data(), 0o700), giveToServer(to.data())); err != nil {
		return fmt.Errorf("make the backup's folder: %w", err)
	}
	argv := p.bin.serverCommand("pg_basebackup", "--pgdata", to.data(), "--wal-method", "stream", "--checkpoint", "fast", "--no-password")
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{
		"PGHOST=127.0.0.1", "PGPORT=" + strconv.Itoa(p.port), "PGUSER=" + superuser, "PGPASSWORD=" + p.password, "PGSSLMODE=disable",
	}
	if out, err := output(cmd); err != nil {
		return fmt.Errorf("back up to %s: %w: %s", to.data(), err, tail(out))
	}
	signal := filepath.Join(to.data(), "recovery.signal")
	return errors.Join(
		os.WriteFile(to.passwordFile(), []byte(p.password), 0o600),
		os.WriteFile(signal, nil, 0o600), giveToServer(signal),
	)
}
