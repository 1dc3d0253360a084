package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// cargo is a cargo that works, and what its environment has to say for that.
type cargo struct {
	path string
	env  []string
}

func (c cargo) environ() []string { return append(os.Environ(), c.env...) }

// findCargo looks for one that works in PATH and where rustup puts it. rustup's cargo looks for compilers in the HOME of
// whoever calls it; where that is not the one it was installed for, it is told where they are.
func findCargo(ctx context.Context) (cargo, error) {
	path, err := exec.LookPath("cargo")
	if err != nil {
		home, homeErr := os.UserHomeDir()
		if homeErr == nil {
			path, err = exec.LookPath(filepath.Join(home, ".cargo", "bin", "cargo"))
		}
	}
	if err != nil {
		return cargo{}, fmt.Errorf("%w: no cargo found; install Rust %s or newer (https://rustup.rs)", ErrNoInflux, oldestRust)
	}
	var failed error
	for _, env := range append([][]string{nil}, rustupEnvs(path)...) {
		c := cargo{path: path, env: env}
		cmd := exec.CommandContext(ctx, path, "--version")
		cmd.Dir, cmd.Env = "/", c.environ() // no folder's rust-toolchain counts
		if err := said(cmd); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		return c, nil
	}
	return cargo{}, fmt.Errorf("%w: %s does not work: %w; install Rust %s or newer (https://rustup.rs)", ErrNoInflux, path, failed, oldestRust)
}

// rustupEnvs are the environments in which rustup's cargo finds the compilers of the home X that it was installed in, as
// X/.cargo/bin/cargo: the one that is chosen there, else any.
func rustupEnvs(path string) (envs [][]string) {
	for _, bin := range rustupFolders(path) {
		home := filepath.Dir(filepath.Dir(bin)) // X
		rustup := filepath.Join(home, ".rustup")
		compilers, err := filepath.Glob(filepath.Join(rustup, "toolchains", "*", "bin", "cargo"))
		if err != nil || len(compilers) == 0 {
			continue
		}
		env := []string{"RUSTUP_HOME=" + rustup}
		// Its settings and downloads, where we may write there too; else cargo makes a place in our HOME.
		if own := filepath.Dir(bin); os.Getenv("CARGO_HOME") == "" && mayWrite(own) {
			env = append(env, "CARGO_HOME="+own)
		}
		envs = append(envs, env)
		for _, c := range compilers {
			envs = append(envs, append(env[:len(env):len(env)], "RUSTUP_TOOLCHAIN="+filepath.Base(filepath.Dir(filepath.Dir(c)))))
		}
	}
	return envs
}

// rustupFolders are the folders X/.cargo/bin that a program lies in, by its name and, where that is a link, by what it
// stands for.
func rustupFolders(path string) (bins []string) {
	for _, p := range []string{path, resolved(path)} {
		bin := filepath.Dir(p)
		if strings.HasSuffix(bin, filepath.FromSlash("/.cargo/bin")) && !slices.Contains(bins, bin) {
			bins = append(bins, bin)
		}
	}
	return bins
}

func resolved(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	return path
}

func mayWrite(dir string) bool {
	f, err := os.CreateTemp(dir, ".starling-")
	if err != nil {
		return false
	}
	return errors.Join(f.Close(), os.Remove(f.Name())) == nil
}
