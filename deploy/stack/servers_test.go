//go:build integration

package stack_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"starling/deploy/stack"
	"starling/deploy/stack/stacktest"
)

// folder is one for a server that needs no account of its own.
func folder(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "server")
}

// say tells Redis lines and returns the last line of its answer.
func say(t *testing.T, r *stack.Redis, lines ...string) string {
	t.Helper()
	u, err := url.Parse(r.URL())
	if err != nil {
		t.Fatal(err)
	}
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	in, answer := bufio.NewReader(c), ""
	for _, line := range lines {
		if _, err := c.Write([]byte(line + "\r\n")); err != nil {
			t.Fatal(err)
		}
		if answer, err = in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(answer, "$") && !strings.HasPrefix(answer, "$-1") {
			if answer, err = in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
	}
	return strings.TrimSpace(answer)
}

func secretOf(t *testing.T, r *stack.Redis) string {
	t.Helper()
	u, err := url.Parse(r.URL())
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := u.User.Password()
	if len(secret) < 20 {
		t.Fatalf("the password has %d characters", len(secret))
	}
	return secret
}

func TestRedisKeepsWhatItWasToldOverStopAndKill(t *testing.T) {
	o := stack.RedisOptions{Dir: folder(t)}
	r, err := stack.StartRedis(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Kill() })
	address, first := r.URL(), r.PID()
	if first == 0 {
		t.Fatal("a running Redis has no process id")
	}
	if got := say(t, r, "AUTH "+secretOf(t, r), "SET kept 7"); got != "+OK" {
		t.Fatalf("SET: %q", got)
	}
	if _, err := stack.StartRedis(t.Context(), o); err == nil {
		t.Error("a second Redis started in one folder")
	}
	for name, end := range map[string]func() error{"Stop": r.Stop, "Kill": r.Kill} {
		// Redis writes to its file before it answers; only a fault of the machine can take the last second.
		if err := end(); err != nil || r.PID() != 0 {
			t.Fatalf("%s: %v, process %d", name, err, r.PID())
		}
		if err := r.StartAgain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := say(t, r, "AUTH "+secretOf(t, r), "GET kept"); got != "7" || r.URL() != address {
			t.Errorf("after %s: %q at %s, want 7 at %s", name, got, r.URL(), address)
		}
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := r.Stop(); err != nil {
		t.Errorf("stopping a stopped Redis: %v", err)
	}
	again, err := stack.StartRedis(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Kill() })
	if got := say(t, again, "AUTH "+secretOf(t, again), "GET kept"); got != "7" {
		t.Errorf("started anew in its folder: %q, want 7", got)
	}
}

func TestRedisAsksForItsPassword(t *testing.T) {
	r := stacktest.Redis(t)
	if got := say(t, r, "GET kept"); !strings.HasPrefix(got, "-NOAUTH") {
		t.Errorf("without a password: %q", got)
	}
	info, err := os.Stat(filepath.Join(r.Base(), "password"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the password file: %v %v", info, err)
	}
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(r.PID()), "cmdline"))
	if err != nil || !bytes.Contains(b, []byte("redis-server")) || bytes.Contains(b, []byte(secretOf(t, r))) {
		t.Errorf("the password stands in a command line: %v", err)
	}
}

// claimsOf reads a token without checking it.
func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("a token of %d parts", len(parts))
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(b, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestKeycloakSignsTheRealmsPeopleInWithWhatTheRealmSaysOfThem(t *testing.T) {
	k := stacktest.Keycloak(t)
	users, err := stack.KeycloakUsers()
	if err != nil || len(users) < 12 {
		t.Fatalf("%d users, %v", len(users), err)
	}
	for _, u := range users {
		token, err := k.PasswordToken(t.Context(), u.Name, u.Password)
		if err != nil {
			t.Fatal(err)
		}
		c := claimsOf(t, token)
		tenants := texts(c["tenants"])
		if id, ok := c["tenant_id"].(string); ok {
			tenants = append(tenants, id)
		}
		if c["iss"] != k.Issuer() || c["aud"] != stack.KeycloakAudience || !slices.Equal(texts(c["roles"]), u.Roles) || !slices.Equal(tenants, u.Tenants) ||
			c["email"] != u.Email || word(c["robot_id"]) != u.RobotID || word(c["fleet"]) != u.Fleet {
			t.Errorf("%s: the token says %v", u.Name, c)
		}
	}
	if _, err := k.PasswordToken(t.Context(), users[0].Name, "wrong"); err == nil {
		t.Error("a wrong password is good")
	}
	token, err := k.ServiceToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c := claimsOf(t, token); !slices.Equal(texts(c["roles"]), []string{"service"}) || word(c["tenant_id"]) == "" {
		t.Errorf("the service's token says %v", c)
	}
}

func word(claim any) string {
	s, _ := claim.(string)
	return s
}

func texts(claim any) []string {
	out := []string{}
	list, _ := claim.([]any)
	for _, x := range list {
		out = append(out, word(x))
	}
	return out
}

func TestThePagesClientTakesAnyPortOfLoopbackAndWantsPKCE(t *testing.T) {
	k := stacktest.Keycloak(t)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for name, c := range map[string]struct {
		redirect, challenge string
		status              int
	}{
		"as the page does": {"http://127.0.0.1:4711/", "&code_challenge_method=S256&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", http.StatusOK},
		"by name":          {"http://localhost:4712/", "&code_challenge_method=S256&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", http.StatusOK},
		"without PKCE":     {"http://127.0.0.1:4711/", "", http.StatusFound},
		"plain PKCE":       {"http://127.0.0.1:4711/", "&code_challenge_method=plain&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", http.StatusFound},
		"from elsewhere":   {"http://example.test/", "&code_challenge_method=S256&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", http.StatusBadRequest},
	} {
		address := k.Issuer() + "/protocol/openid-connect/auth?response_type=code&scope=openid&client_id=" + stack.KeycloakPage + "&redirect_uri=" + url.QueryEscape(c.redirect) + c.challenge
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != c.status || c.status == http.StatusFound && !strings.Contains(res.Header.Get("Location"), "error=invalid_request") {
			t.Errorf("%s: %d %s, want %d", name, res.StatusCode, res.Header.Get("Location"), c.status)
		}
	}
}

func TestKeycloakComesBackAfterKillWithItsKeysAndLeavesNothing(t *testing.T) {
	dir := folder(t)
	k, err := stack.StartKeycloak(t.Context(), stack.KeycloakOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Kill() })
	users, err := stack.KeycloakUsers()
	if err != nil {
		t.Fatal(err)
	}
	keys := func() []string {
		var out struct {
			Keys []struct{ Kid, Use string }
		}
		if err := json.Unmarshal(get(t, k.Issuer()+"/protocol/openid-connect/certs"), &out); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, key := range out.Keys {
			ids = append(ids, key.Kid)
		}
		slices.Sort(ids)
		return ids
	}
	before, issuer := keys(), k.Issuer()
	if err := k.Kill(); err != nil || k.PID() != 0 {
		t.Fatalf("after Kill: %v, process %d", err, k.PID())
	}
	if err := k.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := keys(); !slices.Equal(before, after) || len(after) == 0 || k.Issuer() != issuer {
		t.Errorf("after Kill the keys are %v at %s, before %v at %s", after, k.Issuer(), before, issuer)
	}
	if _, err := k.PasswordToken(t.Context(), users[0].Name, users[0].Password); err != nil {
		t.Error(err)
	}
	if err := k.StartAgain(t.Context()); err == nil {
		t.Error("it started twice in one folder")
	}
	if err := k.Remove(); err != nil || k.PID() != 0 {
		t.Errorf("after Remove: %v, process %d", err, k.PID())
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("Remove left %s: %v", dir, err)
	}
}

// Whoever is killed leaves nothing of a guarded server, even if that is still starting.
func TestAGuardedServerEndsWithAProcessThatIsKilled(t *testing.T) {
	for _, name := range []string{"redis", "kafka", "influx", "mosquitto", "keycloak"} {
		for _, started := range []bool{true, false} {
			home, program := t.TempDir(), filepath.Join(t.TempDir(), name)
			if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/"+name).CombinedOutput(); err != nil {
				t.Fatalf("build: %v %s", err, out)
			}
			cmd := exec.CommandContext(t.Context(), program, "run")
			cmd.Env = append(os.Environ(), "TMPDIR="+home)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			pid := 0
			if started {
				var said struct{ PID int }
				if err := json.NewDecoder(out).Decode(&said); err != nil {
					t.Fatal(err)
				}
				pid = said.PID
			} else {
				pid = await(t, name+" has a process", func() (int, bool) {
					files, _ := filepath.Glob(filepath.Join(home, "*", "pid"))
					if len(files) == 0 {
						return 0, false
					}
					b, _ := os.ReadFile(files[0])
					n, err := strconv.Atoi(strings.TrimSpace(string(b)))
					return n, err == nil
				})
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			_ = in.Close()
			await(t, name+" is gone", func() (int, bool) {
				left, err := os.ReadDir(home)
				_, running := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd")) // the dead have none, reaped or not
				return 0, err == nil && len(left) == 0 && running != nil
			})
		}
	}
}

// await looks until it sees what it wants, for two minutes at most.
func await(t *testing.T, what string, look func() (int, bool)) int {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if n, seen := look(); seen {
			return n
		}
	}
	t.Fatalf("never: %s", what)
	return 0
}

func get(t *testing.T, address string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v", address, res.StatusCode, err)
	}
	return b.Bytes()
}

func TestEnsuringServersThatAreThereDoesNothing(t *testing.T) {
	stacktest.Keycloak(t)
	for name, ensure := range map[string]func(context.Context, *bytes.Buffer) error{
		"all":      func(ctx context.Context, w *bytes.Buffer) error { return stack.EnsureAll(ctx, w) },
		"redis":    func(ctx context.Context, w *bytes.Buffer) error { return stack.EnsureRedis(ctx, w) },
		"keycloak": func(ctx context.Context, w *bytes.Buffer) error { return stack.EnsureKeycloak(ctx, w) },
	} {
		var out bytes.Buffer
		if err := ensure(t.Context(), &out); err != nil || out.Len() != 0 {
			t.Errorf("%s: %v, output %q", name, err, out.String())
		}
	}
}
