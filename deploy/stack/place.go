package stack

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

const (
	account     = "postgres"          // whose rights the server has when root starts it
	systemPlace = "/var/lib/starling" // where root's clusters go whose folder postgres cannot enter
	settings    = "starling.conf"

	// A unix socket path must fit 107 bytes, the file name ".s.PGSQL.65535" included.
	maxSocketDir = 90
)

// place is where one cluster lives: base holds the password and the data folder.
type place struct{ base string }

func (l place) data() string         { return filepath.Join(l.base, "data") }
func (l place) passwordFile() string { return filepath.Join(l.base, "password") }
func (l place) pidFile() string      { return filepath.Join(l.data(), "postmaster.pid") }
func (l place) logFile() string      { return filepath.Join(l.data(), "server.log") }

func isRoot() bool { return os.Geteuid() == 0 }

// locate answers where the cluster of dir lives; it makes nothing.
func locate(ctx context.Context, dir string) (place, error) {
	if dir == "" {
		return place{}, errors.New("locate cluster: no directory given")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return place{}, fmt.Errorf("locate cluster: %w", err)
	}
	if !isRoot() || enterable(ctx, abs) {
		return place{base: abs}, nil
	}
	sum := sha256.Sum256([]byte(abs))
	return place{base: filepath.Join(systemPlace, hex.EncodeToString(sum[:8]))}, nil
}

// enterable reports whether the account postgres can reach dir, or what exists of the path to it.
func enterable(ctx context.Context, dir string) bool {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	cmd := exec.CommandContext(ctx, "runuser", "-u", account, "--", "test", "-x", dir)
	cmd.Dir = "/"
	return cmd.Run() == nil
}

func (l place) initialised() bool {
	_, err := os.Stat(filepath.Join(l.data(), "PG_VERSION"))
	return err == nil
}

// prepareInit makes an empty folder for initdb and a file with a new password, both the server's own.
func (l place) prepareInit() (fresh, pwFile string, err error) {
	if err := os.MkdirAll(l.base, 0o755); err != nil { // the account postgres must pass
		return "", "", fmt.Errorf("make cluster folder: %w", err)
	}
	fresh, pwFile = filepath.Join(l.base, "data.new"), filepath.Join(l.base, "password.new")
	if err := errors.Join(os.RemoveAll(fresh), os.RemoveAll(pwFile), os.Mkdir(fresh, 0o700)); err != nil {
		return "", "", fmt.Errorf("prepare cluster folder: %w", err)
	}
	if err := os.WriteFile(pwFile, []byte(rand.Text()), 0o600); err != nil {
		return "", "", fmt.Errorf("write password: %w", err)
	}
	return fresh, pwFile, errors.Join(giveToServer(fresh), giveToServer(pwFile))
}

func (l place) finishInit(fresh, pwFile string) error {
	if isRoot() {
		if err := os.Chown(pwFile, 0, 0); err != nil {
			return fmt.Errorf("take the password file back: %w", err)
		}
	}
	conf, err := os.OpenFile(filepath.Join(fresh, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open postgresql.conf: %w", err)
	}
	_, err = conf.WriteString("\ninclude '" + settings + "'\n")
	if err := errors.Join(err, conf.Close()); err != nil {
		return fmt.Errorf("write postgresql.conf: %w", err)
	}
	return errors.Join(os.Rename(pwFile, l.passwordFile()), os.Rename(fresh, l.data()))
}

func giveToServer(path string) error {
	if !isRoot() {
		return nil
	}
	u, err := user.Lookup(account)
	if err != nil {
		return fmt.Errorf("look up account %s: %w", account, err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("look up account %s: %w", account, err)
	}
	if err := os.Chown(path, uid, gid); err != nil {
		return fmt.Errorf("give %s to %s: %w", path, account, err)
	}
	return nil
}

func (l place) readPassword() (string, error) {
	b, err := os.ReadFile(l.passwordFile())
	if err != nil {
		return "", fmt.Errorf("read the cluster's password: %w", err)
	}
	return string(b), nil
}

// writeSettings replaces the cluster's settings; they take effect at the next start.
func (l place) writeSettings(port int, fast bool, more map[string]string) error {
	socket := l.data()
	if len(socket) > maxSocketDir {
		socket = ""
	}
	set := [][2]string{
		{"listen_addresses", "127.0.0.1"},
		{"port", strconv.Itoa(port)},
		{"unix_socket_directories", socket},
		{"max_connections", "200"},
		{"shared_buffers", "256MB"},
		{"max_wal_size", "2GB"},
		{"timezone", "UTC"},
		{"log_timezone", "UTC"},
		{"log_min_messages", "warning"},
		{"jit", "off"},
	}
	if fast {
		set = append(set, [][2]string{
			{"fsync", "off"},
			{"synchronous_commit", "off"},
			{"full_page_writes", "off"},
			{"autovacuum_naptime", "10min"},
		}...)
	}
	for _, name := range slices.Sorted(maps.Keys(more)) { // of two settings the server takes the last
		set = append(set, [2]string{name, more[name]})
	}
	var b strings.Builder
	b.WriteString("# Written at each start; changes are lost.\n")
	for _, kv := range set {
		fmt.Fprintf(&b, "%s = '%s'\n", kv[0], strings.ReplaceAll(kv[1], "'", "''"))
	}
	path := filepath.Join(l.data(), settings)
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write postgres settings: %w", err)
	}
	return giveToServer(path)
}

// pid returns the number of the server's main process as its pid file has it.
func (l place) pid() (int, error) {
	line, err := l.pidLine(0)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(line)
}

func (l place) runningPort() (int, error) {
	line, err := l.pidLine(3)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(line)
}

func (l place) pidLine(i int) (string, error) {
	b, err := os.ReadFile(l.pidFile())
	if err != nil {
		return "", fmt.Errorf("read pid file: %w", err)
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) <= i {
		return "", fmt.Errorf("read pid file: %d lines", len(lines))
	}
	return strings.TrimSpace(lines[i]), nil
}

// stale reports that there is a pid file whose process is gone, dead but not yet reaped, or has its number by chance: after
// kill -9 and a reboot the number may belong to anything, and pg_ctl would take that for the server.
// A postmaster's working folder is its data folder; the dead have none.
func (l place) stale() bool {
	pid, err := l.pid()
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	if runtime.GOOS != "linux" {
		return false // pg_ctl's own check has to do
	}
	want, err := os.Stat(l.data())
	if err != nil {
		return false
	}
	got, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
	return err != nil || !os.SameFile(want, got)
}

func (l place) logTail() string {
	b, err := os.ReadFile(l.logFile())
	if err != nil {
		return ""
	}
	return string(b)
}
