package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// KeycloakRealm, KeycloakAudience: the realm of realm/starling-realm.json and the audience of its tokens.
	KeycloakRealm    = "starling"
	KeycloakAudience = "starling"
	// KeycloakPage is its public client for the page (authorisation code with PKCE), KeycloakCLI the one for password
	// grants, KeycloakService the one that signs in for itself, with its secret.
	KeycloakPage          = "starling-page"
	KeycloakCLI           = "starling-cli"
	KeycloakService       = "starling-service"
	KeycloakServiceSecret = "starling-service-password" //nolint:gosec // of a realm that exists on a developer's machine alone

	keycloakAdmin    = "admin"
	keycloakTimeout  = 3 * time.Minute
	keycloakPatience = 30 * time.Second
	keycloakAnswer   = 30 * time.Second
	longestAnswer    = 1 << 20
)

// KeycloakOptions says where and how a Keycloak runs.
type KeycloakOptions struct {
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

// Keycloak is a private Keycloak with the realm of realm/starling-realm.json, for tests and for a developer's browser.
// Size sketch: 400 MB of memory, 7 CPU-seconds to start; the first start of all on a machine takes a minute more.
type Keycloak struct {
	*daemon

	dist          distribution
	port          int
	management    int
	adminPassword string
	client        *http.Client
	log           *slog.Logger
}

// StartKeycloak starts a Keycloak in o.Dir and returns when it is ready. One that runs there
// already is an error. Errors: ErrNoJava, or what Keycloak said.
func StartKeycloak(ctx context.Context, o KeycloakOptions) (*Keycloak, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	dist, err := findDistribution(ctx, o.Log)
	if err != nil {
		return nil, err
	}
	template, err := dist.template(ctx, o.Log)
	if err != nil {
		return nil, err
	}
	k, err := newKeycloak(ctx, dist, o)
	if err != nil {
		return nil, err
	}
	if err := k.orRemove(k.prepare(ctx, template)); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *Keycloak) prepare(ctx context.Context, template string) error {
	if _, err := os.Stat(k.path(templateAdmin)); err != nil { // else it goes on with what it had
		if err := copyTemplate(template, k.daemon); err != nil {
			return err
		}
	}
	password, err := os.ReadFile(k.path(templateAdmin))
	if err != nil {
		return fmt.Errorf("read Keycloak's password: %w", err)
	}
	k.adminPassword = string(password)
	if k.pid() != 0 {
		return k.untilReady(ctx)
	}
	return k.StartAgain(ctx)
}

func copyTemplate(template string, d *daemon) error {
	data := d.path(filepath.Join("data", templateData))
	password, err := os.ReadFile(filepath.Join(template, templateAdmin))
	if err != nil {
		return fmt.Errorf("copy the realm: %w", err)
	}
	if err := errors.Join(os.RemoveAll(data), os.MkdirAll(filepath.Dir(data), privateFolder), os.CopyFS(data, os.DirFS(filepath.Join(template, templateData))),
		os.WriteFile(d.path(templateAdmin), password, 0o600)); err != nil { // last: it says that the rest is whole
		return fmt.Errorf("copy the realm: %w", err)
	}
	return nil
}

// newKeycloak prepares a home of its own: programs and themes are the distribution's, data is not.
func newKeycloak(ctx context.Context, dist distribution, o KeycloakOptions) (*Keycloak, error) {
	d, err := newDaemon(o.Dir, o.Guarded, o.Adopt)
	if err != nil {
		return nil, err
	}
	k := &Keycloak{daemon: d, dist: dist, port: o.Port, client: &http.Client{Timeout: keycloakAnswer}, log: o.Log}
	if err := d.orRemove(k.makeHome(ctx)); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *Keycloak) makeHome(ctx context.Context) error {
	for _, name := range []string{"lib", "conf", "providers", "themes"} {
		if err := os.Symlink(filepath.Join(k.dist.dir, name), k.path(name)); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make a home for Keycloak: %w", err)
		}
	}
	ports, err := k.keepPorts(ctx, k.port, 2)
	if err != nil {
		return err
	}
	k.port, k.management = ports[0], ports[1]
	return nil
}

// StartAgain starts it after Stop or Kill: the same address, keys and data. Of the half second before Kill data may be lost.
func (k *Keycloak) StartAgain(ctx context.Context) error { return k.run(ctx, nil) }

func (k *Keycloak) run(ctx context.Context, env []string, args ...string) error {
	if pid := k.pid(); pid != 0 {
		return fmt.Errorf("start Keycloak in %s: it runs already as process %d", k.base, pid)
	}
	// What bin/kc.sh would run, without the shell in between, tuned for a short life: small heap, no second compiler.
	argv := []string{
		k.dist.java, "-Xms64m", "-Xmx384m", "-XX:-UsePerfData", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MaxMetaspaceSize=256m", "-XX:+ExitOnOutOfMemoryError",
		"-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US",
		"--add-opens=java.base/java.util=ALL-UNNAMED", "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
		"--add-opens=java.base/java.security=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED", "--enable-native-access=ALL-UNNAMED",
		"-Djava.util.concurrent.ForkJoinPool.common.threadFactory=io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory",
		"-Dkc.home.dir=" + k.base, "-Djboss.server.config.dir=" + k.path("conf"), "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
		"-Dpicocli.disable.closures=true", "-Djava.io.tmpdir=" + k.base,
		"-cp", k.path("lib/quarkus-run.jar"), "io.quarkus.bootstrap.runner.QuarkusEntryPoint",
		"start", "--optimized", "--http-enabled=true", "--http-host=127.0.0.1", "--http-port=" + strconv.Itoa(k.port), "--hostname=" + k.URL(),
		"--http-management-host=127.0.0.1", "--http-management-port=" + strconv.Itoa(k.management), "--cache=local", "--log-level=warn",
	}
	if err := k.start(append(argv, args...), env); err != nil {
		return err
	}
	if err := k.untilReady(ctx); err != nil {
		return errors.Join(err, k.Kill())
	}
	k.log.LogAttrs(ctx, slog.LevelInfo, "keycloak runs", slog.String("issuer", k.Issuer()), slog.String("dir", k.base))
	return nil
}

func (k *Keycloak) untilReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keycloakTimeout)
	defer cancel()
	return k.await(ctx, k.ready)
}

func (k *Keycloak) ready(ctx context.Context) error {
	_, err := k.ask(ctx, http.MethodGet, "http://"+loopback(k.management)+"/health/ready", "", nil, nil)
	return err
}

// URL is its address: http://127.0.0.1:port.
func (k *Keycloak) URL() string {
	return "http://" + loopback(k.port)
}

// Issuer is what its tokens name as their issuer: the setting OIDC_ISSUER.
func (k *Keycloak) Issuer() string { return k.URL() + "/realms/" + KeycloakRealm }

// Administrator is the name and the password of its administrator (realm master).
func (k *Keycloak) Administrator() (name, password string) { return keycloakAdmin, k.adminPassword }

// PID is the number of its process, 0 = it does not run.
func (k *Keycloak) PID() int { return k.pid() }

// Base is the folder that holds all of it.
func (k *Keycloak) Base() string { return k.base }

// Stop ends it in order. Nothing running is no error.
func (k *Keycloak) Stop() error { return k.end(syscall.SIGTERM, keycloakPatience) }

// Kill ends it as a crash does.
func (k *Keycloak) Kill() error { return k.end(syscall.SIGKILL, killPatience) }

// Remove ends it as a crash does and removes its folder.
func (k *Keycloak) Remove() error { return k.remove() }

// KeycloakUser is a person or a machine of the realm.
type KeycloakUser struct {
	Name     string   `json:"name"`
	Password string   `json:"password"`
	Email    string   `json:"email"`
	FullName string   `json:"full_name"`
	Roles    []string `json:"roles"`
	Tenants  []string `json:"tenants"`
	RobotID  string   `json:"robot_id,omitempty"`
	Fleet    string   `json:"fleet,omitempty"`
}

// KeycloakUsers lists who can sign in with a password, as the realm's file has them.
func KeycloakUsers() ([]KeycloakUser, error) {
	var realm struct {
		Users []struct {
			Username, Email, FirstName, LastName string
			Credentials                          []struct{ Value string }
			RealmRoles                           []string
			Attributes                           map[string][]string
		}
	}
	if err := json.Unmarshal(realmJSON, &realm); err != nil {
		return nil, fmt.Errorf("read the realm: %w", err)
	}
	var out []KeycloakUser
	for _, u := range realm.Users {
		if len(u.Credentials) == 0 {
			continue
		}
		out = append(out, KeycloakUser{
			Name: u.Username, Password: u.Credentials[0].Value, Email: u.Email, FullName: u.FirstName + " " + u.LastName, Roles: u.RealmRoles,
			Tenants: append(append([]string{}, u.Attributes["tenant_id"]...), u.Attributes["tenants"]...),
			RobotID: strings.Join(u.Attributes["robot_id"], ""), Fleet: strings.Join(u.Attributes["fleet"], ""),
		})
	}
	return out, nil
}

// PasswordToken signs a user of the realm in and returns the access token.
func (k *Keycloak) PasswordToken(ctx context.Context, name, password string) (string, error) {
	return k.grant(ctx, KeycloakRealm, url.Values{"grant_type": {"password"}, "client_id": {KeycloakCLI}, "username": {name}, "password": {password}})
}

// ServiceToken signs the client starling-service in for itself.
func (k *Keycloak) ServiceToken(ctx context.Context) (string, error) {
	return k.grant(ctx, KeycloakRealm, url.Values{"grant_type": {"client_credentials"}, "client_id": {KeycloakService}, "client_secret": {KeycloakServiceSecret}})
}

// Admin asks the administration's REST API: path follows /admin/realms/, body is sent as JSON (nil = none), the answer is
// read into answer (nil = not wanted).
func (k *Keycloak) Admin(ctx context.Context, method, path string, body, answer any) error {
	token, err := k.grant(ctx, "master", url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {keycloakAdmin}, "password": {k.adminPassword}})
	if err != nil {
		return err
	}
	var content []byte
	if body != nil {
		if content, err = json.Marshal(body); err != nil {
			return fmt.Errorf("ask Keycloak's administration: %w", err)
		}
	}
	header := http.Header{"Authorization": {"Bearer " + token}}
	got, err := k.ask(ctx, method, k.URL()+"/admin/realms/"+path, "application/json", content, header)
	if err != nil || answer == nil {
		return err
	}
	if err := json.Unmarshal(got, answer); err != nil {
		return fmt.Errorf("read the answer of Keycloak's administration: %w", err)
	}
	return nil
}

func (k *Keycloak) grant(ctx context.Context, realm string, form url.Values) (string, error) {
	body, err := k.ask(ctx, http.MethodPost, k.URL()+"/realms/"+realm+"/protocol/openid-connect/token", "application/x-www-form-urlencoded", []byte(form.Encode()), nil)
	if err != nil {
		return "", err
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.AccessToken == "" {
		return "", fmt.Errorf("read Keycloak's token: %w", errors.Join(err, errors.New("the answer holds none")))
	}
	return answer.AccessToken, nil
}

// ask makes one request; an answer other than 2xx is an error with its text, which holds no secret.
func (k *Keycloak) ask(ctx context.Context, method, address, kind string, body []byte, header http.Header) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(string(body)))
	if err != nil {
		return nil, fmt.Errorf("ask Keycloak: %w", err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := k.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask Keycloak: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(io.LimitReader(res.Body, longestAnswer))
	if err != nil {
		return nil, fmt.Errorf("ask Keycloak: %w", err)
	}
	if res.StatusCode/100 != 2 {
		return nil, fmt.Errorf("ask Keycloak: %s %s: status %d: %s", method, req.URL.Path, res.StatusCode, tail(string(got)))
	}
	return got, nil
}
