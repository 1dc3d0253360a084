package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// cacheDir is where downloads and builds stay, outside every checkout.
func cacheDir() (string, error) {
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the cache: %w", err)
		}
		base = filepath.Join(home, ".cache")
	}
	return filepath.Join(base, "starling", "servers"), nil
}

// cached returns the folder that the cache keeps under a name and, in that name, the contents that decide what is in
// it. Where there is none, fill makes it in a folder beside the final one, which is then renamed: half a folder never
// looks whole. Two processes do not make the same thing at once, and one does not wait for another thing.
func cached(ctx context.Context, name string, contents []byte, fill func(ctx context.Context, dir string) error) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(contents)
	dir := filepath.Join(cache, name+"-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	unlock, err := lockCache(cache, name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil { // another process made it meanwhile
		return dir, nil
	}
	left, err := filepath.Glob(filepath.Join(cache, name+"-new-*")) // by processes that were killed: who works there holds the lock
	if err != nil {
		return "", fmt.Errorf("look for what is left of %s: %w", name, err)
	}
	for _, old := range left {
		if err := os.RemoveAll(old); err != nil {
			return "", fmt.Errorf("remove what is left of %s: %w", name, err)
		}
	}
	fresh, err := os.MkdirTemp(cache, name+"-new-")
	if err != nil {
		return "", fmt.Errorf("make a folder for %s: %w", name, err)
	}
	defer func() { _ = os.RemoveAll(fresh) }()
	if err := fill(ctx, fresh); err != nil {
		return "", err
	}
	if err := errors.Join(os.Chmod(fresh, 0o755), os.Rename(fresh, dir)); err != nil { // programs, no secrets
		return "", fmt.Errorf("keep %s: %w", name, err)
	}
	return dir, nil
}

// lockCache keeps other processes from making the same thing at the same time.
func lockCache(cache, name string) (unlock func(), err error) {
	if err := os.MkdirAll(cache, 0o755); err != nil { // programs, no secrets
		return nil, fmt.Errorf("make the cache of servers: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(cache, name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the cache of servers: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil { //nolint:gosec // a descriptor is small
		return nil, errors.Join(fmt.Errorf("lock the cache of servers: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// said runs a program; what it printed stands in the error.
func said(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, tail(string(out)))
	}
	return nil
}

func checkSum(path, want string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("check %s: %w", filepath.Base(path), err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("check %s: %w", filepath.Base(path), err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("check %s: its SHA-256 is %s, want %s", filepath.Base(path), got, want)
	}
	return nil
}
