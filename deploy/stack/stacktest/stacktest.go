// Package stacktest gives integration tests a real PostgreSQL with PostGIS: one private cluster per test
// binary, started at first use, one fresh database per call of Database. Only tests import it. A missing
// server fails the test, it never skips.
//
// The cluster ends with the test binary, however that ends: a watchdog shell waits for the end of a pipe
// whose other end the binary holds.
package stacktest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"starling/deploy/stack"
)

const startTimeout = 3 * time.Minute

// cluster is the server of this test binary.
type cluster struct {
	once     sync.Once
	postgres *stack.Postgres
	err      error
	alive    *os.File  // its end tells the watchdog to stop the server
	watchdog *exec.Cmd // stops the server and removes its folder
}

var shared cluster //nolint:gochecknoglobals // one server per test binary, whichever test asks first

// Main runs the tests of a package and then stops the server if one was started, waiting until it is gone:
//
//	func TestMain(m *testing.M) { stacktest.Main(m) }
func Main(m *testing.M) {
	m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the test server:", err)
	}
}

// Database returns the URL of a new database (superuser, extension postgis, nothing else in it), dropped at the
// end of the test. Roles belong to the whole cluster: databases of parallel tests share them.
func Database(tb testing.TB) string {
	tb.Helper()
	p := Cluster(tb)
	name := "t_" + strings.ToLower(rand.Text())
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	if _, err := p.Exec(ctx, "postgres", "CREATE DATABASE "+name+" TEMPLATE "+stack.Database); err != nil {
		tb.Fatalf("make a test database: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout) // the test's is over
		defer cancel()
		if _, err := p.Exec(ctx, "postgres", "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			tb.Errorf("drop the test database: %v", err)
		}
	})
	return p.DatabaseURL(name)
}

// Cluster returns the server of this test binary. A test that stops or kills servers starts its own
// with stack.Start instead.
func Cluster(tb testing.TB) *stack.Postgres {
	tb.Helper()
	shared.once.Do(shared.start)
	if shared.err != nil {
		tb.Fatalf("start the test server: %v", shared.err)
	}
	return shared.postgres
}

func (c *cluster) start() {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	dir, err := Dir()
	if err != nil {
		c.err = err
		return
	}
	if c.postgres, c.err = stack.Start(ctx, stack.Options{Dir: dir, Fast: true}); c.err != nil {
		c.err = errors.Join(c.err, stack.Remove(ctx, dir))
		return
	}
	c.err = c.guard(dir)
}

// Dir makes a new temporary folder that the server's account can enter. The folder of testing.TB.TempDir
// is not one when root runs the tests: its parents are closed to others. The caller ends it with stack.Remove.
func Dir() (string, error) {
	dir, err := os.MkdirTemp("", "starling-pg-")
	if err != nil {
		return "", fmt.Errorf("make a folder for the test server: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // see above
		return "", fmt.Errorf("open the folder of the test server: %w", err)
	}
	return dir, nil
}

// guard starts the watchdog: it reads the pipe until this process closes it or dies, then stops the server.
func (c *cluster) guard(dir string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make the watchdog's pipe: %w", err)
	}
	const script = `trap '' INT QUIT TERM HUP; read -r _; folder=$1; base=$2; shift 2; "$@"; rm -rf -- "$folder" "$base"`
	args := append([]string{"-c", script, "watchdog", dir, c.postgres.Base()}, c.postgres.StopCommand()...)
	c.watchdog = exec.Command("sh", args...) //nolint:noctx // it must outlive every context
	c.watchdog.Dir = "/"
	c.watchdog.Stdin = r
	if err := c.watchdog.Start(); err != nil {
		return fmt.Errorf("start the watchdog: %w", err)
	}
	c.alive = w
	return r.Close()
}

func (c *cluster) stop() error {
	if c.alive == nil {
		return nil
	}
	if err := c.alive.Close(); err != nil {
		return err
	}
	return c.watchdog.Wait()
}
