package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// While this file says so, Debian's packages start no server of their own.
const policyFile = "/usr/sbin/policy-rc.d"

// canInstall: root on a system with apt-get.
func canInstall() bool {
	_, err := exec.LookPath("apt-get")
	return err == nil && isRoot()
}

// findProgram looks in PATH and where a distribution keeps servers, which an ordinary user's PATH leaves out.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", err
}

// ensureProgram installs Debian's package of a server when its program is missing and the caller may; no server of the
// distribution is started. Else a missing program is the error missing.
func ensureProgram(ctx context.Context, w io.Writer, program, name string, missing error) error {
	if _, err := findProgram(program); err == nil {
		return nil
	}
	if !canInstall() {
		return missing
	}
	policy, err := os.OpenFile(policyFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755) // a system file
	switch {
	case errors.Is(err, os.ErrExist): // somebody has decided already
	case err != nil:
		return fmt.Errorf("tell Debian to start no server: %w", err)
	default:
		_, err := policy.WriteString("#!/bin/sh\nexit 101\n")
		defer func() { _ = os.Remove(policyFile) }()
		if err := errors.Join(err, policy.Close()); err != nil {
			return fmt.Errorf("tell Debian to start no server: %w", err)
		}
	}
	if err := install(ctx, w, name); err != nil {
		return err
	}
	if _, err := findProgram(program); err != nil {
		return missing
	}
	return nil
}

// install installs Debian's packages; of two callers at once one waits.
func install(ctx context.Context, w io.Writer, names ...string) error {
	unlock, err := lockApt()
	if err != nil {
		return err
	}
	defer unlock()
	fmt.Fprintf(w, "installing %s\n", strings.Join(names, " "))
	if err := apt(ctx, w, "update", "-q"); err != nil {
		return err
	}
	return apt(ctx, w, append([]string{"install", "-q", "-y", "--no-install-recommends"}, names...)...)
}

// lockApt keeps our processes from running apt-get at once: a second `update` would fail, not wait.
func lockApt() (unlock func(), err error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	return lockCache(cache, "apt")
}
