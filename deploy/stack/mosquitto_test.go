//go:build integration

package stack_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"starling/deploy/stack"
)

// mqtt signs in to a broker as a client of MQTT 3.1.1 and returns the connection and its answer's code.
func mqtt(t *testing.T, address string, name, password string) (net.Conn, byte) {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	packet(t, c, 0x10, field("MQTT"), []byte{4, 0xc2, 0, 60}, field("test"), field(name), field(password))
	return c, answer(t, c, 0x20)[1]
}

func field(s string) []byte { return append([]byte{0, byte(len(s))}, s...) }

func packet(t *testing.T, c net.Conn, kind byte, parts ...[]byte) {
	t.Helper()
	body := bytes.Join(parts, nil)
	if _, err := c.Write(append([]byte{kind, byte(len(body))}, body...)); err != nil {
		t.Fatal(err)
	}
}

func answer(t *testing.T, c net.Conn, kind byte) []byte {
	t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(c, head); err != nil || head[0] != kind {
		t.Fatalf("a packet %x, want %x: %v", head[0], kind, err)
	}
	body := make([]byte, head[1])
	if _, err := io.ReadFull(c, body); err != nil {
		t.Fatal(err)
	}
	return body
}

func TestMosquittoKeepsRetainedMessagesOverStopAndKillAndAsksForItsPassword(t *testing.T) {
	dir := folder(t)
	o := stack.MosquittoOptions{Dir: dir}
	m, err := stack.StartMosquitto(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Kill() })
	at, err := url.Parse(m.URL())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := at.User.Password()
	if _, code := mqtt(t, at.Host, at.User.Username(), "wrong"); code != 5 {
		t.Errorf("with a wrong password the answer is %d, want 5", code)
	}
	for name, end := range map[string]func() error{"Stop": m.Stop, "Kill": m.Kill} {
		text := fmt.Sprintf("kept over %s", name)
		c, code := mqtt(t, at.Host, at.User.Username(), password)
		if code != 0 {
			t.Fatalf("signing in: %d", code)
		}
		packet(t, c, 0x33, field("a/b"), []byte{0, 1}, []byte(text)) // at least once, retained
		answer(t, c, 0x40)
		await(t, "the message is on disk", func() (int, bool) {
			b, _ := os.ReadFile(filepath.Join(m.Base(), "mosquitto.db"))
			return 0, bytes.Contains(b, []byte(text))
		})
		if err := end(); err != nil || m.PID() != 0 {
			t.Fatalf("%s: %v, process %d", name, err, m.PID())
		}
		if err := m.StartAgain(t.Context()); err != nil {
			t.Fatal(err)
		}
		c, _ = mqtt(t, at.Host, at.User.Username(), password)
		packet(t, c, 0x82, []byte{0, 2}, field("a/b"), []byte{0})
		answer(t, c, 0x90)
		if got := answer(t, c, 0x31); !bytes.HasSuffix(got, []byte(text)) {
			t.Errorf("after %s: %q", name, got)
		}
	}
	if _, err := stack.StartMosquitto(t.Context(), o); err == nil {
		t.Error("a second Mosquitto started in one folder")
	}
	if err := m.Remove(); err != nil || m.PID() != 0 {
		t.Errorf("after Remove: %v, process %d", err, m.PID())
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("Remove left %s: %v", dir, err)
	}
}
