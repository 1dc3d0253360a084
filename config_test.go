package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const someDatabase = "postgres://u:" + planted + "@db/starling"

// env is a lookup over fixed variables; with a database, so that nothing else is missing in dev.
func env(pairs ...string) func(string) string {
	vars := map[string]string{"DATABASE_URL": someDatabase}
	for i := 0; i < len(pairs); i += 2 {
		vars[pairs[i]] = pairs[i+1]
	}
	return func(key string) string { return vars[key] }
}

func files(pairs ...string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == path {
				return []byte(pairs[i+1]), nil
			}
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
}

func TestTheEnvironmentBeatsTheFileBeatsTheDefaults(t *testing.T) {
	t.Parallel()
	c, faults := LoadConfig(
		env("HTTP_PORT", "9001"),
		files("deploy/config/dev.yaml", "HTTP_PORT: 9000\nLINK_PORT: 9002\nDB_AUTO_MIGRATE: true\nCORS_ALLOWED_ORIGINS: [https://a.example, 'https://b.example:8443/']\n"),
	)
	if faults.Any() {
		t.Fatal(faults.Err())
	}
	want := Config{
		Env: "dev", ServiceName: "starling", LogLevel: slog.LevelInfo,
		HTTPHost: "127.0.0.1", HTTPPort: 9001, RequestTimeout: 10 * time.Second, ShutdownTimeout: 15 * time.Second,
		CORSAllowedOrigins: []string{"https://a.example", "https://b.example:8443"},
		WebhookNetworks:    []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		LinkHost:           "127.0.0.1", LinkPort: 9002,
		DatabaseURL: NewSecret(someDatabase), DBMaxConns: 16, DBMinConns: 2,
		DBConnMaxIdle: 5 * time.Minute, DBConnMaxLifetime: time.Hour, DBAutoMigrate: true,
		OIDCAudience: "starling", JWKSCacheTTL: 5 * time.Minute, JWTClockSkew: 30 * time.Second, DevIssuerEnabled: true,
		HTTPMaxConns: 20_000, LinkMaxConns: 20_000, MaxConnsPerIP: 1_000_000,
		LinkTrustDomain: "starling", OIDCClientID: "starling-page",
		AuditEnabled: true, AuditReads: true, AuditDir: ".starling/audit", AuditMonths: 24, OutboxDays: 3,
		InfluxBucket: "starling", InfluxDir: ".starling/influx", InfluxSpool: 256,
		Lease: 1500 * time.Millisecond, LeaseRenew: 300 * time.Millisecond,
		ZoneTick: 100 * time.Millisecond, DispatchInterval: 250 * time.Millisecond,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestEveryFaultIsReportedAtOnceAndNoValueIsEchoed(t *testing.T) {
	t.Parallel()
	const bad = "bad-value-4711"
	_, faults := LoadConfig(
		env("ENV", "staging", "DATABASE_URL", "", "HTTP_PORT", bad, "REQUEST_TIMEOUT_MS", "-1", "LOG_LEVEL", bad,
			"OIDC_ISSUER", bad, "DB_MIN_CONNS", "20", "LEASE_RENEW_MS", "1000", "DB_AUTO_MIGRATE", bad, "CORS_ALLOWED_ORIGINS", bad),
		files("deploy/config/staging.yaml", "NOT_A_KEY: "+bad+"\nLINK_PORT: {a: "+bad+"}\nCONFIG_PATH: "+bad+"\nhttp_port: 1\n"),
	)
	want := Faults{
		Missing: []string{"DATABASE_URL", "OIDC_AUDIENCE"},
		Invalid: []InvalidKey{
			{"CONFIG_PATH", "is read from the environment alone"},
			{"CORS_ALLOWED_ORIGINS", "want origins such as https://host:port, separated by commas, or *"},
			{"DB_AUTO_MIGRATE", "want true or false"},
			{"DB_MIN_CONNS", "want at most DB_MAX_CONNS"},
			{"HTTP_PORT", "want a whole number 0..65535"},
			{"LEASE_RENEW_MS", "want at most a third of LEASE_MS"},
			{"LINK_PORT", "want a single value"},
			{"LOG_LEVEL", "want one of debug, info, warn, error"},
			{"NOT_A_KEY", "unknown key in the configuration file"},
			{"OIDC_ISSUER", "want a URL http(s)://host…"},
			{"REQUEST_TIMEOUT_MS", "want a whole number 1..600000"},
			{"http_port", "unknown key in the configuration file"},
		},
	}
	if diff := cmp.Diff(want, faults); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	if s := fmt.Sprint(faults, faults.Err()); strings.Contains(s, bad) {
		t.Errorf("a value is echoed: %s", s)
	}
}

func TestFaultsOfSingleKeys(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		env  []string
		file string
		want string // "KEY: problem", or "KEY: missing"
	}{
		"nothing is wrong":                       {},
		"an unknown ENV":                         {env: []string{"ENV", "production", "OIDC_ISSUER", "https://i", "OIDC_AUDIENCE", "a"}, want: "ENV: want one of dev, staging, prod"},
		"an ENV that is a path":                  {env: []string{"ENV", "../../etc", "OIDC_ISSUER", "https://i", "OIDC_AUDIENCE", "a"}, want: "ENV: want one of dev, staging, prod"},
		"a database of another kind":             {env: []string{"DATABASE_URL", "mysql://x"}, want: "DATABASE_URL: want a URL postgres://user:password@host:port/database"},
		"no database":                            {env: []string{"DATABASE_URL", ""}, want: "DATABASE_URL: missing"},
		"two listeners on one port":              {env: []string{"HTTP_PORT", "8081"}, want: "LINK_PORT: the same as HTTP_PORT"},
		"a dev issuer in prod":                   {env: []string{"ENV", "prod", "DEV_ISSUER_ENABLED", "true"}, want: "DEV_ISSUER_ENABLED: the development issuer is refused outside ENV=dev"},
		"a dev issuer in staging":                {env: []string{"ENV", "staging", "DEV_ISSUER_ENABLED", "true"}, want: "DEV_ISSUER_ENABLED: the development issuer is refused outside ENV=dev"},
		"two issuers":                            {env: []string{"DEV_ISSUER_ENABLED", "true", "OIDC_ISSUER", "https://i"}, want: "DEV_ISSUER_ENABLED: either OIDC_ISSUER, OIDC_ISSUERS_FILE or the development issuer"},
		"an issuer without audience":             {env: []string{"OIDC_ISSUER", "https://i"}, want: "OIDC_AUDIENCE: missing"},
		"a control character in the name":        {env: []string{"SERVICE_NAME", "a\nb"}, want: "SERVICE_NAME: want at most 64 printable characters"},
		"a file that is no mapping":              {file: "- a\n- b\n", want: "CONFIG_PATH: the file is not a YAML mapping of keys to values"},
		"a file that is no YAML":                 {file: "A: 1\nB: [\n", want: "CONFIG_PATH: the file is not a YAML mapping of keys to values"},
		"a file with a key twice":                {file: "HTTP_PORT: 1\nHTTP_PORT: 2\n", want: "CONFIG_PATH: the file is not a YAML mapping of keys to values"},
		"an empty file":                          {file: "# nothing\n"},
		"a null in the file counts as not set":   {file: "HTTP_PORT:\n"},
		"an unknown variable does not disturb":   {env: []string{"MQTT_URL", "x"}},
		"a Kafka user without a password":        {env: []string{"KAFKA_USER", "u"}, want: "KAFKA_PASSWORD: missing"},
		"authorities of no use":                  {env: []string{"KAFKA_TLS_CA_FILE", "f"}, want: "KAFKA_TLS_CA_FILE: is of use with KAFKA_TLS alone"},
		"brokers without a port":                 {env: []string{"KAFKA_BROKERS", "a:9092,b"}, want: "KAFKA_BROKERS: want host:port, several separated by commas"},
		"a prefix that no topic may have":        {env: []string{"KAFKA_TOPIC_PREFIX", "a/b"}, want: "KAFKA_TOPIC_PREFIX: want at most 100 letters, digits and .-_"},
		"an unknown key of a feature not built":  {file: "MQTT_URL: x\n", want: "MQTT_URL: unknown key in the configuration file"},
		"a nested key":                           {file: "HTTP: {PORT: 1}\n", want: "HTTP: unknown key in the configuration file"},
		"a fraction where a whole number is due": {file: "DB_MAX_CONNS: 1.5\n", want: "DB_MAX_CONNS: want a whole number 1..1000"},
		"a skew of more than five minutes":       {env: []string{"JWT_CLOCK_SKEW_SECONDS", "301"}, want: "JWT_CLOCK_SKEW_SECONDS: want a whole number 0..300"},
		"an origin with a path":                  {env: []string{"CORS_ALLOWED_ORIGINS", "https://a/b"}, want: "CORS_ALLOWED_ORIGINS: want origins such as https://host:port, separated by commas, or *"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, faults := LoadConfig(env(test.env...), files("deploy/config/dev.yaml", test.file))
			got := ""
			if err := faults.Err(); err != nil {
				got = err.Error()
			}
			if test.want == "" && got != "" || !strings.HasPrefix(got, test.want) || strings.Contains(got, "\n") {
				t.Errorf("got %q, want %q alone", got, test.want)
			}
		})
	}
}

func TestWhichFileIsRead(t *testing.T) {
	t.Parallel()
	c, faults := LoadConfig(env("CONFIG_PATH", "/etc/mine.yaml"), files("/etc/mine.yaml", "ENV: dev\nHTTP_PORT: 7000\n", "deploy/config/dev.yaml", "HTTP_PORT: 1\n"))
	if faults.Any() || c.HTTPPort != 7000 || c.ConfigPath != "/etc/mine.yaml" {
		t.Errorf("CONFIG_PATH: port %d, faults %v", c.HTTPPort, faults)
	}
	_, faults = LoadConfig(env("CONFIG_PATH", "/not/there"), files())
	if want := (Faults{Invalid: []InvalidKey{{"CONFIG_PATH", "the file cannot be read"}}}); !reflect.DeepEqual(faults, want) {
		t.Errorf("a file that was asked for and is not there: %v", faults)
	}
	denied := func(string) ([]byte, error) { return nil, errors.New("denied") }
	_, faults = LoadConfig(env(), denied)
	if want := (Faults{Invalid: []InvalidKey{{"CONFIG_PATH", "deploy/config/dev.yaml cannot be read"}}}); !reflect.DeepEqual(faults, want) {
		t.Errorf("the default file is there but closed: %v", faults)
	}
}

func TestOutsideDevTheServersListenOnEveryAddressAndThereIsNoDevIssuer(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"staging", "prod", "a typing error"} {
		c, _ := LoadConfig(env("ENV", name), files())
		if c.HTTPHost != "0.0.0.0" || c.LinkHost != "0.0.0.0" || c.DevIssuerEnabled {
			t.Errorf("ENV=%s: %+v", name, c)
		}
	}
}

func TestTheTemplatesNameEveryKeyAndAreValid(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"dev", "staging", "prod"} {
		body, err := os.ReadFile(filepath.Join("deploy", "config", name+".example.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		c, faults := LoadConfig(env("ENV", name), files(filepath.Join("deploy", "config", name+".yaml"), string(body)))
		if faults.Any() || c.Env != name {
			t.Errorf("%s: ENV %s, %v", name, c.Env, faults.Err())
		}
		for _, k := range configKeys() {
			onlyThere := slices.Contains([]string{"ENV", "CONFIG_PATH"}, k.name) ||
				name == "dev" && strings.HasPrefix(k.name, "OIDC_") || name != "dev" && k.name == "DEV_ISSUER_ENABLED"
			if !onlyThere && !strings.Contains(string(body), k.name+":") {
				t.Errorf("%s does not mention %s", name, k.name)
			}
		}
	}
}

func TestOnlyKeepsTheFaultsOfTheGivenKeys(t *testing.T) {
	t.Parallel()
	_, faults := LoadConfig(env("ENV", "prod", "DATABASE_URL", "", "HTTP_PORT", "x"), files())
	if got := faults.Only("DATABASE_URL").Err().Error(); got != "DATABASE_URL: missing" {
		t.Errorf("got %q", got)
	}
	if faults.Only("DB_MAX_CONNS").Any() {
		t.Error("a key without fault has one")
	}
}

func TestEveryDefaultPassesItsOwnCheck(t *testing.T) {
	t.Parallel()
	for _, k := range configKeys() {
		for _, d := range []string{k.fallback, k.devDefault} {
			if d == "" {
				continue
			}
			if problem := k.set(&Config{}, d); problem != "" {
				t.Errorf("%s: default %s: %s", k.name, d, problem)
			}
		}
	}
}

func TestNoTextOfAVariableOrFileBringsItDownOrIsEchoed(t *testing.T) {
	t.Parallel()
	names := make([]string, 0, len(configKeys()))
	for _, k := range configKeys() {
		names = append(names, k.name)
	}
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SampledFrom(names).Draw(t, "key")
		const mark = "Zq7"
		value := rapid.String().Draw(t, "value") + mark
		body := rapid.String().Draw(t, "file")
		_, faults := LoadConfig(env(key, value), files("deploy/config/dev.yaml", body))
		if strings.Contains(fmt.Sprint(faults), mark) {
			t.Fatalf("%s: the value is echoed: %v", key, faults)
		}
	})
}
