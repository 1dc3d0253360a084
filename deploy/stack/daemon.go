package stack

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	pidName       = "pid"
	logName       = "server.log"
	readyPause    = 50 * time.Millisecond
	killPatience  = 10 * time.Second
	lowestPort    = 21000 // below the ports that systems give to outgoing connections
	highestPort   = 31999
	portTries     = 64
	portPatience  = 5 * time.Second
	portsName     = "ports"
	privateFolder = 0o700
)

// daemon is a server program that runs by itself in a folder of its own: the folder is its working folder and holds
// its pid file and its log. Any process that knows the folder finds it again. Safe for concurrent use.
type daemon struct {
	base  string // absolute, without symbolic links
	guard *Guard // nil = it outlives this process

	mu    sync.Mutex
	child *child // nil = another process started what runs
}

// child is one run of a server that this process has started.
type child struct {
	ended chan struct{} // closed when it is reaped
	how   error         // of its end; nil = exit code 0
}

// newDaemon makes the folder, and its guard before anything runs in it. A server that runs there already is an error,
// unless it is to be adopted.
func newDaemon(dir string, guarded, adopt bool) (*daemon, error) {
	if dir == "" {
		return nil, errors.New("start a server: no directory given")
	}
	if err := os.MkdirAll(dir, privateFolder); err != nil {
		return nil, fmt.Errorf("make a server's folder: %w", err)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("locate a server's folder: %w", err)
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return nil, fmt.Errorf("locate a server's folder: %w", err)
	}
	d := &daemon{base: abs}
	if pid := d.pid(); pid != 0 && !adopt { // which a guard would end
		return nil, fmt.Errorf("start a server in %s: one runs there already as process %d", abs, pid)
	}
	if guarded {
		if d.guard, err = NewGuard(d.killCommand(), abs, abs); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// remove ends what runs in the folder at once and removes the folder.
func (d *daemon) remove() error {
	if d.guard != nil {
		return d.guard.Close()
	}
	if err := d.end(syscall.SIGKILL, killPatience); err != nil {
		return err
	}
	if err := os.RemoveAll(d.base); err != nil {
		return fmt.Errorf("remove a server's folder: %w", err)
	}
	return nil
}

func (d *daemon) path(name string) string { return filepath.Join(d.base, name) }

// start runs the program in a process group of its own, so that ^C in a shell reaches only who stops it in order.
func (d *daemon) start(argv, env []string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	log, err := os.OpenFile(d.path(logName), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("open a server's log: %w", err)
	}
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // it outlives every context, until stop
	cmd.Dir = d.base
	cmd.Env = append(env, "PATH="+os.Getenv("PATH"), "LC_ALL=C.UTF-8")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	if err == nil { // before anything else: whoever finds no pid starts another
		if err = d.keepPID(cmd.Process.Pid); err != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	if err := errors.Join(err, log.Close()); err != nil {
		return fmt.Errorf("start %s: %w", filepath.Base(argv[0]), err)
	}
	c := &child{ended: make(chan struct{})}
	go func() { // ends with the server
		c.how = cmd.Wait()
		close(c.ended)
	}()
	d.child = c
	return nil
}

// keepPID writes the pid file, whole or not at all.
func (d *daemon) keepPID(pid int) error {
	fresh := d.path(pidName + ".new")
	if err := errors.Join(os.WriteFile(fresh, []byte(strconv.Itoa(pid)+"\n"), 0o600), os.Rename(fresh, d.path(pidName))); err != nil {
		return fmt.Errorf("write a server's pid file: %w", err)
	}
	return nil
}

// pid is the number of the running process, 0 = none runs. A number in the pid file counts only while it is that of a
// process whose working folder is ours: after kill -9 and a reboot it may be anybody's.
func (d *daemon) pid() int {
	b, err := os.ReadFile(d.path(pidName))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 || !d.owns(pid) {
		return 0
	}
	return pid
}

func (d *daemon) owns(pid int) bool {
	if runtime.GOOS != "linux" {
		return syscall.Kill(pid, 0) == nil
	}
	// Of a process that dies the first thread may be gone while others still hold its ports: it is there as long as any is.
	threads, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "cwd"))
	return err == nil && slices.ContainsFunc(threads, func(thread string) bool {
		cwd, err := os.Readlink(thread)
		return err == nil && cwd == d.base
	})
}

// end sends a signal and waits until the process is gone; after patience it is killed. Nothing running is no error.
func (d *daemon) end(signal syscall.Signal, patience time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	pid := d.pid()
	if pid == 0 {
		return nil
	}
	for _, s := range []syscall.Signal{signal, syscall.SIGKILL} {
		if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end process %d: %w", pid, err)
		}
		if d.gone(pid, patience) {
			return nil
		}
		patience = killPatience
	}
	return fmt.Errorf("end process %d: it is still there", pid)
}

func (d *daemon) gone(pid int, patience time.Duration) bool {
	late := time.NewTimer(patience)
	defer late.Stop()
	look := time.NewTicker(readyPause)
	defer look.Stop()
	var ended chan struct{} // of others than our child only the folder under /proc tells
	if d.child != nil {
		ended = d.child.ended
	}
	for d.owns(pid) {
		select {
		case <-ended:
			return true
		case <-look.C:
		case <-late.C:
			return false
		}
	}
	return true
}

// await asks ready until it says yes, the process ends or ctx does.
func (d *daemon) await(ctx context.Context, ready func(context.Context) error) error {
	look := time.NewTicker(readyPause)
	defer look.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if d.pid() == 0 {
			return d.endedByItself()
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the server: %w: %w: %s", ctx.Err(), err, d.logTail())
		}
	}
}

func (d *daemon) endedByItself() error {
	d.mu.Lock()
	c := d.child
	d.mu.Unlock()
	how := errors.New("its end is not known")
	if c == nil { // another process started it
		return fmt.Errorf("the server ended by itself: %w: %s", how, d.logTail())
	}
	select {
	case <-c.ended:
		how = cmp.Or(c.how, errors.New("exit status 0"))
	case <-time.After(killPatience): // it is dead, but not reaped
	}
	return fmt.Errorf("the server ended by itself: %w: %s", how, d.logTail())
}

func (d *daemon) logTail() string {
	b, err := os.ReadFile(d.path(logName))
	if err != nil {
		return ""
	}
	return tail(string(b))
}

// orRemove takes a guarded server away that could not be started; one that is not guarded leaves its log.
func (d *daemon) orRemove(err error) error {
	if err != nil && d.guard != nil {
		return errors.Join(err, d.remove())
	}
	return err
}

// killCommand is a command line that kills the server of the folder, whichever process runs there by then.
func (d *daemon) killCommand() []string {
	const script = `pid=$(cat "$1/pid" 2>/dev/null) || exit 0
there() {
	for thread in /proc/"$pid"/task/*/cwd; do
		if [ "$(readlink "$thread" 2>/dev/null)" = "$1" ]; then return 0; fi
	done
	return 1
}
if [ -d /proc/self ] && ! there "$1"; then exit 0; fi
kill -KILL "$pid"
while there "$1"; do sleep 0.05; done`
	return []string{"sh", "-c", script, "kill", d.base}
}

// keepPorts answers the n ports of the server, the first of them first unless that is 0: those that it had in this folder
// before, as far as they are free or it runs, else others.
func (d *daemon) keepPorts(ctx context.Context, first, n int) ([]int, error) {
	ports := make([]int, n)
	if b, err := os.ReadFile(d.path(portsName)); err == nil {
		for i, word := range strings.Fields(string(b))[:min(n, len(strings.Fields(string(b))))] {
			ports[i], _ = strconv.Atoi(word) // 0 = choose anew
		}
	}
	if d.pid() != 0 {
		return ports, nil
	}
	if first != 0 {
		ports[0] = first
	}
	var text strings.Builder
	for i := range ports {
		if i == 0 && first != 0 || ports[i] != 0 && portFree(ctx, ports[i]) {
			continue
		}
		var err error
		if ports[i], err = quietPort(ctx); err != nil {
			return nil, err
		}
	}
	for _, p := range ports {
		fmt.Fprintln(&text, p)
	}
	if err := os.WriteFile(d.path(portsName), []byte(text.String()), 0o600); err != nil {
		return nil, fmt.Errorf("keep a server's ports: %w", err)
	}
	return ports, nil
}

// keepSecret answers what a file of the folder holds; where there is none it gets a new random text.
func (d *daemon) keepSecret(name string) (string, error) {
	b, err := os.ReadFile(d.path(name))
	if err == nil {
		return string(b), nil
	}
	secret := rand.Text()
	if err := os.WriteFile(d.path(name), []byte(secret), 0o600); err != nil {
		return "", fmt.Errorf("write a server's secret: %w", err)
	}
	return secret, nil
}

// portFree waits a while for a port that whoever died a moment ago may still hold.
func portFree(ctx context.Context, port int) bool {
	for deadline := time.Now().Add(portPatience); ; {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp4", loopback(port))
		if err == nil {
			return l.Close() == nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return false
		}
		time.Sleep(readyPause)
	}
}

// loopback is the address of a port on 127.0.0.1.
func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// quietPort finds a free port that no outgoing connection takes while the server is away for a moment.
func quietPort(ctx context.Context) (int, error) {
	var lc net.ListenConfig
	var last error
	for range portTries {
		port := lowestPort + mathrand.IntN(highestPort-lowestPort+1) //nolint:gosec // no secret
		l, err := lc.Listen(ctx, "tcp4", loopback(port))
		if err != nil {
			last = err
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("find a free port: %w", last)
}
