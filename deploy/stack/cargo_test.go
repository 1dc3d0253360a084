package stack

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeRustup lays out a rustup in a home: its cargo works where it is told of compilers, one of which is chosen, or none.
func fakeRustup(t *testing.T, chosen bool) (home string) {
	t.Helper()
	home = t.TempDir()
	for _, dir := range []string{".cargo/bin", ".rustup/toolchains/stable/bin"} {
		if err := os.MkdirAll(filepath.Join(home, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if chosen {
		if err := os.WriteFile(filepath.Join(home, ".rustup/settings.toml"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const proxy = `#!/bin/sh
r=${RUSTUP_HOME:-$HOME/.rustup}
if [ -f "$r/settings.toml" ]; then t=stable; fi
t=${RUSTUP_TOOLCHAIN:-$t}
if [ -n "$t" ] && [ -x "$r/toolchains/$t/bin/cargo" ]; then echo cargo 1.95.0; exit 0; fi
echo "rustup could not choose a version of cargo" >&2
exit 1
`
	for _, name := range []string{".cargo/bin/rustup", ".rustup/toolchains/stable/bin/cargo"} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(proxy), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("rustup", filepath.Join(home, ".cargo/bin/cargo")); err != nil {
		t.Fatal(err)
	}
	return home
}

func TestACargoOfAnotherHomeFindsItsCompilers(t *testing.T) {
	t.Setenv("RUSTUP_HOME", "")
	t.Setenv("RUSTUP_TOOLCHAIN", "")
	t.Setenv("CARGO_HOME", "")
	path := os.Getenv("PATH")
	for _, chosen := range []bool{true, false} {
		home := fakeRustup(t, chosen)
		t.Setenv("PATH", filepath.Join(home, ".cargo/bin")+":"+path)
		t.Setenv("HOME", t.TempDir())
		c, err := findCargo(t.Context())
		want := []string{"RUSTUP_HOME=" + home + "/.rustup", "CARGO_HOME=" + home + "/.cargo"}
		if !chosen {
			want = append(want, "RUSTUP_TOOLCHAIN=stable")
		}
		if err != nil || !slices.Equal(c.env, want) {
			t.Errorf("chosen %v: %q, want %q: %v", chosen, c.env, want, err)
		}
		linked := t.TempDir() // as a system puts it in everybody's way
		if err := os.Symlink(filepath.Join(home, ".cargo/bin/cargo"), filepath.Join(linked, "cargo")); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", linked+":"+path)
		if c, err := findCargo(t.Context()); err != nil || !slices.Equal(c.env, want) {
			t.Errorf("by a link, chosen %v: %q, want %q: %v", chosen, c.env, want, err)
		}
	}
	home := fakeRustup(t, true)
	t.Setenv("PATH", filepath.Join(home, ".cargo/bin")+":"+path)
	t.Setenv("HOME", home)
	if c, err := findCargo(t.Context()); err != nil || c.env != nil {
		t.Errorf("in its own home: %q, want nothing said: %v", c.env, err)
	}
	if err := os.RemoveAll(filepath.Join(home, ".rustup")); err != nil {
		t.Fatal(err)
	}
	if _, err := findCargo(t.Context()); !errors.Is(err, ErrNoInflux) || !strings.Contains(err.Error(), "could not choose") {
		t.Errorf("without compilers: %v", err)
	}
}

// What the messages ask for is what the build wants.
func TestTheOldestGoIsThatOfTheBuild(t *testing.T) {
	b, err := influxFiles.ReadFile("influx/go.mod.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "\ngo "+oldestGo+".") {
		t.Errorf("go.mod.txt wants another Go than %s", oldestGo)
	}
}
