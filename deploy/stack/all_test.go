//go:build integration

package stack_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"starling/deploy/stack"
	"starling/deploy/stack/stacktest"
)

func readEnv(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(stack.EnvFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(stack.EnvFile(dir))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file holds secrets, and its mode is %v: %v", info, err)
	}
	return string(b)
}

// ports are what may be shown of the file.
func ports(env string) []string { return regexp.MustCompile(`127\.0\.0\.1:\d+`).FindAllString(env, -1) }

// inFolder counts the processes that have a folder as their working folder.
func inFolder(t *testing.T, folder string) (n int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil || len(all) == 0 {
		t.Fatalf("%d processes: %v", len(all), err)
	}
	folder, err = filepath.EvalSymlinks(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if cwd, err := os.Readlink(p); err == nil && cwd == folder {
			n++
		}
	}
	return n
}

// All servers come up beside each other, are found again, come back where they were after kill -9, and go.
func TestTheWholeStackComesBackWhereItWasAndGoes(t *testing.T) {
	d := dir(t)
	up := func() string {
		t.Helper()
		if err := stack.Up(t.Context(), d, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		return readEnv(t, d)
	}
	running := func(want int) map[string]int {
		t.Helper()
		all, err := stack.Running(t.Context(), d)
		if err != nil || len(all) != want {
			t.Fatalf("%v run, want %d: %v", all, want, err)
		}
		return all
	}
	t.Cleanup(func() { _ = stack.RemoveAll(context.Background(), d) }) // the test's is over
	// Two at once: one waits, and takes what the other has started.
	var at [2]error
	var both sync.WaitGroup
	for i := range at {
		both.Go(func() { at[i] = stack.Up(t.Context(), d, slog.New(slog.DiscardHandler)) })
	}
	both.Wait()
	if err := errors.Join(at[:]...); err != nil {
		t.Fatal(err)
	}
	before := readEnv(t, d)
	for _, name := range []string{"redis", "mosquitto", "kafka", "influx", "keycloak"} {
		if n := inFolder(t, filepath.Join(d, name)); n != 1 {
			t.Errorf("%d processes of %s", n, name)
		}
	}
	for _, key := range stack.EnvKeys() {
		if !regexp.MustCompile(`(?m)^` + key + `='[^']+'$`).MatchString(before) {
			t.Errorf("the file says nothing of %s", key)
		}
	}
	first := running(6)
	if again := up(); again != before {
		t.Error("a second Up says something else")
	}
	for name, pid := range running(6) {
		if pid != first[name] {
			t.Errorf("the second Up started another %s", name)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "all are dead", func() (int, bool) {
		all, err := stack.Running(t.Context(), d)
		return 0, err == nil && len(all) == 0
	})
	if again := up(); again != before {
		t.Errorf("after kill -9 the servers are elsewhere: %v, before %v", ports(again), ports(before))
	}
	second := running(6)
	if err := stack.Down(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	running(0)
	if err := stack.Down(t.Context(), d); err != nil {
		t.Errorf("stopping a stopped stack: %v", err)
	}
	if err := stack.RemoveAll(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	for name, pid := range second {
		if cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd")); err == nil && strings.HasPrefix(cwd, d) {
			t.Errorf("%s is still there", name)
		}
	}
}

func TestAMissingServerFailsTheTestAndSaysWhatToInstall(t *testing.T) {
	ask := map[string]func(testing.TB){
		"redis":     func(tb testing.TB) { stacktest.Redis(tb) },
		"kafka":     func(tb testing.TB) { stacktest.Kafka(tb) },
		"influx":    func(tb testing.TB) { stacktest.Influx(tb) },
		"mosquitto": func(tb testing.TB) { stacktest.Mosquitto(tb) },
		"keycloak":  func(tb testing.TB) { stacktest.Keycloak(tb) },
	}
	const asked = "STACK_TEST_ASKED"
	if name := os.Getenv(asked); name != "" { // the process that the loop below starts
		ask[name](t)
		return
	}
	for name := range ask {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAMissingServerFailsTheTestAndSaysWhatToInstall$", "-test.v")
		cmd.Env = []string{asked + "=" + name, "PATH=" + t.TempDir(), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir()} // no programs, an empty cache
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "--- FAIL") || !strings.Contains(string(out), "install") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
