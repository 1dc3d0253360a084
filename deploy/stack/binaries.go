package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	oldestMajor = 15
	packages    = "postgresql-15 postgresql-15-postgis-3"
	// While this drop-in exists, Debian's package makes no cluster of its own that would start by itself.
	noMainCluster = "/etc/postgresql-common/createcluster.d/starling.conf"
)

// ErrMissing says that PostgreSQL or PostGIS is not installed; the text around it says what to install.
var ErrMissing = errors.New("PostgreSQL with PostGIS is not installed")

// binaries is the folder with initdb, pg_ctl and psql.
type binaries struct{ dir string }

// findBinaries looks in PATH, Debian's and Red Hat's folders and Homebrew's, newest version first.
func findBinaries(ctx context.Context) (binaries, error) {
	var dirs []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return binaries{}, fmt.Errorf("look for postgres: %w", err)
		}
		dirs = append(dirs, found...)
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	type candidate struct {
		bin     binaries
		major   int
		postgis bool
	}
	var all []candidate
	for _, d := range dirs {
		b := binaries{dir: d}
		if major := b.major(ctx); major >= oldestMajor {
			all = append(all, candidate{b, major, b.hasPostGIS(ctx)})
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(b.major, a.major) })
	for _, c := range all {
		if c.postgis {
			return c.bin, nil
		}
	}
	what := fmt.Sprintf("no PostgreSQL %d or newer found", oldestMajor)
	if len(all) > 0 {
		what = "PostgreSQL " + strconv.Itoa(all[0].major) + " has no PostGIS"
	}
	return binaries{}, fmt.Errorf("%w: %s; on Debian 12 install it with `apt-get install %s`, "+
		"elsewhere install PostgreSQL %d or newer and its PostGIS 3 package", ErrMissing, what, packages, oldestMajor)
}

var majorOf = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func (b binaries) major(ctx context.Context) int {
	for _, name := range []string{"initdb", "pg_ctl", "psql"} {
		if _, err := os.Stat(b.path(name)); err != nil {
			return 0
		}
	}
	out, err := exec.CommandContext(ctx, b.path("initdb"), "--version").Output()
	if err != nil {
		return 0
	}
	m := majorOf.FindSubmatch(out)
	if m == nil {
		return 0
	}
	major, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return 0
	}
	return major
}

func (b binaries) hasPostGIS(ctx context.Context) bool {
	share := filepath.Join("/usr/share/postgresql", filepath.Base(filepath.Dir(b.dir)))
	if out, err := exec.CommandContext(ctx, b.path("pg_config"), "--sharedir").Output(); err == nil {
		share = strings.TrimSpace(string(out))
	}
	_, err := os.Stat(filepath.Join(share, "extension", "postgis.control"))
	return err == nil
}

func (b binaries) path(name string) string { return filepath.Join(b.dir, name) }

// serverCommand is the command line that runs a program with the server's rights.
func (b binaries) serverCommand(name string, args ...string) []string {
	argv := append([]string{b.path(name)}, args...)
	if isRoot() {
		argv = append([]string{"runuser", "-u", account, "--"}, argv...)
	}
	return argv
}

func (b binaries) asServer(ctx context.Context, name string, args ...string) (string, error) {
	argv := b.serverCommand(name, args...)
	return output(exec.CommandContext(ctx, argv[0], argv[1:]...))
}

func (b binaries) psql(ctx context.Context, port int, password, database, sql string) (string, error) {
	cmd := exec.CommandContext(ctx, b.path("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-")
	cmd.Stdin = strings.NewReader(sql)
	cmd.Env = []string{
		"PGHOST=127.0.0.1", "PGPORT=" + strconv.Itoa(port), "PGUSER=" + superuser, "PGDATABASE=" + database,
		"PGPASSWORD=" + password, "PGSSLMODE=disable", // not as arguments: other users can read those
	}
	return output(cmd)
}

// output runs a program from / (the account postgres may not enter the current folder) with an
// environment that holds no PG* variable of the caller.
func output(cmd *exec.Cmd) (string, error) {
	cmd.Dir = "/"
	cmd.Env = append(cmd.Env, "LC_ALL=C", "PATH="+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Ensure installs Debian's packages when PostgreSQL or PostGIS is missing and the caller is root on a
// system with apt-get; progress goes to w. Else a missing program is ErrMissing with what to install.
func Ensure(ctx context.Context, w io.Writer) error {
	_, err := findBinaries(ctx)
	if err == nil || !errors.Is(err, ErrMissing) || !isRoot() {
		return err
	}
	if _, lookErr := exec.LookPath("apt-get"); lookErr != nil {
		return err
	}
	unlock, err := lockApt()
	if err != nil {
		return err
	}
	defer unlock()
	fmt.Fprintf(w, "installing %s\n", packages)
	if err := apt(ctx, w, "update", "-q"); err != nil {
		return err
	}
	if err := apt(ctx, w, "install", "-q", "-y", "--no-install-recommends", "postgresql-common"); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(noMainCluster), 0o755); err != nil { // a system folder
		return fmt.Errorf("tell Debian to make no cluster: %w", err)
	}
	if err := os.WriteFile(noMainCluster, []byte("create_main_cluster = false\n"), 0o644); err != nil { // a system file
		return fmt.Errorf("tell Debian to make no cluster: %w", err)
	}
	err = apt(ctx, w, append([]string{"install", "-q", "-y", "--no-install-recommends"}, strings.Fields(packages)...)...)
	if err := errors.Join(err, os.Remove(noMainCluster)); err != nil {
		return err
	}
	_, err = findBinaries(ctx)
	return err
}

func apt(ctx context.Context, w io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-o", "DPkg::Lock::Timeout=300"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apt-get %s: %w", args[0], err)
	}
	return nil
}
