//go:build integration

package stack_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"starling/deploy/stack"
	"starling/deploy/stack/stacktest"
)

func TestMain(m *testing.M) { stacktest.Main(m) }

func dir(t *testing.T) string {
	t.Helper()
	d, err := stacktest.Dir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stack.Remove(context.Background(), d); err != nil { // the test's is over
			t.Errorf("remove the cluster: %v", err)
		}
	})
	return d
}

func mustExec(t *testing.T, p *stack.Postgres, sql string) string {
	t.Helper()
	out, err := p.Exec(t.Context(), stack.Database, sql)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func mustStart(t *testing.T, o stack.Options) *stack.Postgres {
	t.Helper()
	p, err := stack.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mainPID(t *testing.T, p *stack.Postgres) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.Base(), "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.SplitN(string(b), "\n", 2)[0])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestACommittedRowSurvivesKillMinusNineAndAStalePidFile(t *testing.T) {
	o := stack.Options{Dir: dir(t)}
	p := mustStart(t, o)
	mustExec(t, p, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
	if err := syscall.Kill(mainPID(t, p), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p = mustStart(t, o)
	if got := mustExec(t, p, "SELECT n FROM kept"); got != "7" {
		t.Errorf("after kill -9 the row is %q, want 7", got)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	// A pid file that names a living process which is not postgres: this test itself.
	stale := strconv.Itoa(os.Getpid()) + "\n" + filepath.Join(p.Base(), "data") + "\n0\n1\n\n127.0.0.1\n0 0\nready\n"
	if err := os.WriteFile(filepath.Join(p.Base(), "data", "postmaster.pid"), []byte(stale), 0o644); err != nil {
		t.Fatal(err)
	}
	p = mustStart(t, o)
	if got := mustExec(t, p, "SELECT n FROM kept"); got != "7" {
		t.Errorf("after a foreign pid file the row is %q, want 7", got)
	}
}

func TestStartingARunningClusterReturnsItAndStopEndsIt(t *testing.T) {
	o := stack.Options{Dir: dir(t), Fast: true}
	first := mustStart(t, o)
	second := mustStart(t, o)
	if first.URL() != second.URL() || mainPID(t, first) != mainPID(t, second) {
		t.Errorf("the second start made another server: %v, %v", mainPID(t, first), mainPID(t, second))
	}
	if err := second.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(); err != nil {
		t.Errorf("stopping a stopped cluster: %v", err)
	}
	if _, running, err := stack.Find(t.Context(), o.Dir); err != nil || running {
		t.Errorf("after Stop: running %v, error %v", running, err)
	}
}

func TestTheServerHasPostGISListensOnLoopbackAndAsksForThePassword(t *testing.T) {
	p := stacktest.Cluster(t)
	if got := mustExec(t, p, "SELECT ST_Area(ST_GeomFromText('POLYGON((0 0,2 0,2 3,0 3,0 0))'))"); got != "6" {
		t.Errorf("ST_Area = %q, want 6", got)
	}
	if got := mustExec(t, p, "SHOW listen_addresses"); got != "127.0.0.1" {
		t.Errorf("listens on %q", got)
	}
	u, err := url.Parse(p.URL())
	if err != nil {
		t.Fatal(err)
	}
	if secret, _ := u.User.Password(); len(secret) < 20 {
		t.Errorf("the password has %d characters", len(secret))
	}
	info, err := os.Stat(filepath.Join(p.Base(), "password"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the password file's mode is %v", info.Mode())
	}
}

func TestAnErrorOfPsqlNamesItsCauseButNotThePassword(t *testing.T) {
	p := stacktest.Cluster(t)
	u, err := url.Parse(p.URL())
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := u.User.Password()
	_, err = p.Exec(t.Context(), "no_such_database", "SELECT 1")
	if err == nil || !strings.Contains(err.Error(), "no_such_database") || strings.Contains(err.Error(), secret) {
		t.Errorf("got error %v", err)
	}
}

func TestEachTestHasADatabaseOfItsOwn(t *testing.T) {
	a, b := stacktest.Database(t), stacktest.Database(t)
	if a == b {
		t.Fatal("two calls returned one database")
	}
	p := stacktest.Cluster(t)
	u, err := url.Parse(a)
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Exec(t.Context(), strings.TrimPrefix(u.Path, "/"), "SELECT extname FROM pg_extension WHERE extname = 'postgis'")
	if err != nil || strings.TrimSpace(out) != "postgis" {
		t.Errorf("postgis in a test database: %q, %v", out, err)
	}
}

func TestADirectoryClosedToTheServersAccountStillWorksAndIsRemovedWhole(t *testing.T) {
	closed := filepath.Join(t.TempDir(), "home", "cluster")
	if err := os.MkdirAll(filepath.Dir(closed), 0o700); err != nil {
		t.Fatal(err)
	}
	p := mustStart(t, stack.Options{Dir: closed, Fast: true})
	if os.Geteuid() == 0 && p.Base() == closed {
		t.Errorf("root's cluster lives in %s, which postgres cannot enter", p.Base())
	}
	if err := stack.Remove(t.Context(), closed); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p.Base()); !os.IsNotExist(err) {
		t.Errorf("after Remove %s: %v", p.Base(), err)
	}
}

func TestFindOfAnEmptyFolderSaysThatNothingIsThere(t *testing.T) {
	_, _, err := stack.Find(t.Context(), dir(t))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestEnsureDoesNothingWhereEverythingIsInstalled(t *testing.T) {
	var out bytes.Buffer
	if err := stack.Ensure(t.Context(), &out); err != nil || out.Len() != 0 {
		t.Errorf("got %v, output %q", err, out.String())
	}
}
