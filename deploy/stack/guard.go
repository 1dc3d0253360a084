package stack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Guard ends a server and removes its folders as soon as it is closed or the process that made it is gone, however
// that ended: a watchdog shell waits for the end of a pipe whose other end the process holds.
type Guard struct {
	alive    *os.File
	watchdog *exec.Cmd
}

// NewGuard starts the watchdog of a server that the command line stop ends; the two folders may be one.
func NewGuard(stop []string, folder, base string) (*Guard, error) {
	if folder == "" || base == "" {
		return nil, errors.New("guard a server: no folder given")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make the watchdog's pipe: %w", err)
	}
	const script = `trap '' INT QUIT TERM HUP; read -r _; folder=$1; base=$2; shift 2; "$@"; rm -rf -- "$folder" "$base"`
	cmd := exec.Command("sh", append([]string{"-c", script, "watchdog", folder, base}, stop...)...) //nolint:noctx // it must outlive every context
	cmd.Dir = "/"
	cmd.Stdin = r
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the watchdog: %w", err), r.Close(), w.Close())
	}
	return &Guard{alive: w, watchdog: cmd}, r.Close()
}

// Close ends the server and returns when it is gone.
func (g *Guard) Close() error {
	if err := g.alive.Close(); err != nil {
		return fmt.Errorf("end a guarded server: %w", err)
	}
	return g.watchdog.Wait()
}
