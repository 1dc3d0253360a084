package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"syscall"
	"time"
)

const (
	mosquittoPackage  = "mosquitto"
	mosquittoUser     = "starling"
	mosquittoConf     = "mosquitto.conf"
	mosquittoUsers    = "passwords"
	mosquittoPassword = "password"
	mosquittoTimeout  = time.Minute
	mosquittoPatience = 10 * time.Second
	mosquittoAnswer   = 10 * time.Second
)

// ErrNoMosquitto says that Mosquitto is not installed; the text around it says what to install.
var ErrNoMosquitto = errors.New("Mosquitto is not installed")

// MosquittoOptions says where and how a Mosquitto runs.
type MosquittoOptions struct {
	// Dir is the folder that it lives in, made if missing.
	Dir string
	// Port on 127.0.0.1; 0 = the one it had in Dir before, else any free one.
	Port int
	// Guarded: it ends with the process that started it, however that ends, and its folder with it. Else it outlives that
	// process until Stop or Kill.
	Guarded bool
	// Adopt: one that runs in Dir already is taken as it is. Else that is an error.
	Adopt bool
	// Log gets a line per step; nil = silence.
	Log *slog.Logger
}

// Mosquitto is a private MQTT broker with one user. Sessions and retained messages outlive Stop, and Kill but for the
// last second. Size sketch: 10 MB of memory, 0.1 s to start.
type Mosquitto struct {
	*daemon

	program  string
	tool     string
	port     int
	password string
	o        MosquittoOptions
	log      *slog.Logger
}

// StartMosquitto starts a broker in o.Dir and returns when it takes clients. Errors: ErrNoMosquitto, or what it said.
func StartMosquitto(ctx context.Context, o MosquittoOptions) (*Mosquitto, error) {
	program, err := findProgram("mosquitto")
	tool, toolErr := findProgram("mosquitto_passwd")
	if errors.Join(err, toolErr) != nil {
		return nil, missingMosquitto()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d, err := newDaemon(o.Dir, o.Guarded, o.Adopt)
	if err != nil {
		return nil, err
	}
	m := &Mosquitto{daemon: d, program: program, tool: tool, o: o, log: o.Log}
	if err := m.orRemove(m.prepare(ctx)); err != nil {
		return nil, err
	}
	return m, nil
}

func missingMosquitto() error {
	return fmt.Errorf("%w: install Mosquitto 2 or newer (Debian: `apt-get install %s`)", ErrNoMosquitto, mosquittoPackage)
}

func (m *Mosquitto) prepare(ctx context.Context) error {
	ports, err := m.keepPorts(ctx, m.o.Port, 1)
	if err != nil {
		return err
	}
	m.port = ports[0]
	if m.password, err = m.keepSecret(mosquittoPassword); err != nil {
		return err
	}
	if m.pid() != 0 {
		return m.untilReady(ctx)
	}
	return m.StartAgain(ctx)
}

// StartAgain starts it after Stop or Kill: the same address, password and data.
func (m *Mosquitto) StartAgain(ctx context.Context) error {
	if pid := m.pid(); pid != 0 {
		return fmt.Errorf("start Mosquitto in %s: it runs already as process %d", m.base, pid)
	}
	who, err := user.Current() // else root's would turn into the account mosquitto, which cannot enter the folder
	if err != nil {
		return fmt.Errorf("start Mosquitto: %w", err)
	}
	conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous false\npassword_file %s\nuser %s\npersistence true\npersistence_location %s/\n"+
		"autosave_on_changes true\nautosave_interval 1\nlog_dest stderr\nlog_type error\nlog_type warning\n", m.port, m.path(mosquittoUsers), who.Username, m.base)
	if err := os.WriteFile(m.path(mosquittoConf), []byte(conf), 0o600); err != nil {
		return fmt.Errorf("write the settings of Mosquitto: %w", err)
	}
	if err := m.writeUsers(ctx); err != nil {
		return err
	}
	if err := m.start([]string{m.program, "-c", m.path(mosquittoConf)}, nil); err != nil {
		return err
	}
	if err := m.untilReady(ctx); err != nil {
		return errors.Join(err, m.Kill())
	}
	m.log.LogAttrs(ctx, slog.LevelInfo, "mosquitto runs", slog.Int("port", m.port), slog.String("dir", m.base))
	return nil
}

// writeUsers makes the file with the password's hash out of one with the password: as an argument others could read it.
func (m *Mosquitto) writeUsers(ctx context.Context) error {
	if err := os.WriteFile(m.path(mosquittoUsers), []byte(mosquittoUser+":"+m.password+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the users of Mosquitto: %w", err)
	}
	if err := said(exec.CommandContext(ctx, m.tool, "-U", m.path(mosquittoUsers))); err != nil {
		return fmt.Errorf("write the users of Mosquitto: %w", err)
	}
	return nil
}

func (m *Mosquitto) untilReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, mosquittoTimeout)
	defer cancel()
	return m.await(ctx, m.ready)
}

// ready signs in as a client does (MQTT 3.1.1) and wants to be accepted.
func (m *Mosquitto) ready(ctx context.Context) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", loopback(m.port))
	if err != nil {
		return fmt.Errorf("reach Mosquitto: %w", err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(mosquittoAnswer))
	var hello bytes.Buffer
	for _, text := range []string{"MQTT", "", "starling-ready", mosquittoUser, m.password} {
		if text == "" {
			hello.Write([]byte{4, 0xc2, 0, 10}) // version 3.1.1; name, password, clean session; 10 s of silence
			continue
		}
		hello.Write([]byte{0, byte(len(text))}) //nolint:gosec // short texts
		hello.WriteString(text)
	}
	if _, err := c.Write(append([]byte{0x10, byte(hello.Len())}, hello.Bytes()...)); err != nil { //nolint:gosec // < 128
		return fmt.Errorf("ask Mosquitto: %w", err)
	}
	answer := make([]byte, 4)
	if _, err := io.ReadFull(c, answer); err != nil {
		return fmt.Errorf("ask Mosquitto: %w", err)
	}
	if !bytes.Equal(answer, []byte{0x20, 2, 0, 0}) {
		return fmt.Errorf("ask Mosquitto: it answers % x", answer)
	}
	return nil
}

// URL is its address with name and password, a secret: mqtt://name:password@127.0.0.1:port.
func (m *Mosquitto) URL() string {
	u := url.URL{Scheme: "mqtt", User: url.UserPassword(mosquittoUser, m.password), Host: loopback(m.port)}
	return u.String()
}

// Port is that of URL.
func (m *Mosquitto) Port() int { return m.port }

// PID is the number of its process, 0 = it does not run.
func (m *Mosquitto) PID() int { return m.pid() }

// Base is the folder that holds all of it.
func (m *Mosquitto) Base() string { return m.base }

// Stop ends it in order. Nothing running is no error.
func (m *Mosquitto) Stop() error { return m.end(syscall.SIGTERM, mosquittoPatience) }

// Kill ends it as a crash does.
func (m *Mosquitto) Kill() error { return m.end(syscall.SIGKILL, killPatience) }

// Remove ends it as a crash does and removes its folder.
func (m *Mosquitto) Remove() error { return m.remove() }

// EnsureMosquitto installs Debian's package when Mosquitto is missing and the caller is root on a system with apt-get;
// else a missing Mosquitto is ErrNoMosquitto with what to install. No server of the distribution is started.
func EnsureMosquitto(ctx context.Context, w io.Writer) error {
	return ensureProgram(ctx, w, "mosquitto", mosquittoPackage, missingMosquitto())
}
