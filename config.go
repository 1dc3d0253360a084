package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/v2"
)

// The values of ENV.
const (
	envDev     = "dev"
	envStaging = "staging"
	envProd    = "prod"
)

// Config is everything that is set from outside: defaults < config file < environment. Each field names
// its key; the table in configKeys has defaults and bounds.
type Config struct {
	Env         string     // ENV: dev, staging or prod
	ServiceName string     // SERVICE_NAME, in each log line
	LogLevel    slog.Level // LOG_LEVEL: debug, info, warn or error
	ConfigPath  string     // CONFIG_PATH: the file that was asked for; "" = deploy/config/<env>.yaml if there is one

	HTTPHost           string        // HTTP_HOST: address to listen on, for the link's neighbours and metrics too
	HTTPPort           int           // HTTP_PORT; 0 = any free one
	RequestTimeout     time.Duration // REQUEST_TIMEOUT_MS: after it a request is answered 504
	ShutdownTimeout    time.Duration // SHUTDOWN_TIMEOUT_MS: bound of the graceful stop
	CORSAllowedOrigins []string      // CORS_ALLOWED_ORIGINS: comma-separated; empty = no cross-origin calls
	LinkHost           string        // LINK_HOST: address that the robots' gRPC link listens on
	LinkPort           int           // LINK_PORT; 0 = any free one
	MetricsPort        int           // METRICS_PORT; 0 = /metrics on the HTTP port

	DatabaseURL       Secret        // DATABASE_URL: postgres://…; required
	DBMaxConns        int           // DB_MAX_CONNS
	DBMinConns        int           // DB_MIN_CONNS, at most DBMaxConns
	DBConnMaxIdle     time.Duration // DB_CONN_MAX_IDLE_SECONDS
	DBConnMaxLifetime time.Duration // DB_CONN_MAX_LIFETIME_SECONDS
	DBAutoMigrate     bool          // DB_AUTO_MIGRATE: migrate up at start

	OIDCIssuer       string        // OIDC_ISSUER: required unless the development issuer is on
	OIDCAudience     string        // OIDC_AUDIENCE: required unless the development issuer is on
	OIDCJWKSURL      string        // OIDC_JWKS_URL: "" = from the issuer's discovery document
	JWKSCacheTTL     time.Duration // JWKS_CACHE_TTL_SECONDS
	JWTClockSkew     time.Duration // JWT_CLOCK_SKEW_SECONDS
	DevIssuerEnabled bool          // DEV_ISSUER_ENABLED: this process issues tokens; only under ENV=dev

	Lease            time.Duration // LEASE_MS: how long a shard is owned after a renewal was sent
	LeaseRenew       time.Duration // LEASE_RENEW_MS: how often it is renewed, at most a third of Lease
	ZoneTick         time.Duration // ZONE_TICK_MS: how often a zone decides
	DispatchInterval time.Duration // DISPATCH_INTERVAL_MS: how often tasks are assigned
}

// InvalidKey is a key whose value cannot be used. Problem never contains the value.
type InvalidKey struct {
	Key     string `json:"key"`
	Problem string `json:"problem"`
}

// Faults is everything that is wrong with a configuration, each list sorted by key. It is what /readyz
// shows as details.
type Faults struct {
	Missing []string     `json:"missing"`
	Invalid []InvalidKey `json:"invalid"`
}

// Any reports whether there is a fault.
func (f Faults) Any() bool { return len(f.Missing)+len(f.Invalid) > 0 }

// Only returns the faults of the given keys: for commands that need little of the configuration.
func (f Faults) Only(keys ...string) Faults {
	return Faults{
		Missing: slices.DeleteFunc(slices.Clone(f.Missing), func(k string) bool { return !slices.Contains(keys, k) }),
		Invalid: slices.DeleteFunc(slices.Clone(f.Invalid), func(i InvalidKey) bool { return !slices.Contains(keys, i.Key) }),
	}
}

// Err returns nil or one error that names every fault.
func (f Faults) Err() error {
	var errs []error
	for _, key := range f.Missing {
		errs = append(errs, fmt.Errorf("%s: missing", key))
	}
	for _, i := range f.Invalid {
		errs = append(errs, fmt.Errorf("%s: %s", i.Key, i.Problem))
	}
	return errors.Join(errs...)
}

func (f *Faults) invalid(key, problem string) {
	f.Invalid = append(f.Invalid, InvalidKey{Key: key, Problem: problem})
}

// LoadConfig reads the configuration: getenv is os.Getenv, readFile is os.ReadFile. An empty variable
// counts as not set. Unknown variables are no fault, unknown keys in the file are. With faults the Config
// still holds what could be read and defaults for the rest: enough to log and to serve /healthz.
func LoadConfig(getenv func(string) string, readFile func(string) ([]byte, error)) (Config, Faults) {
	var faults Faults
	fromEnv := map[string]any{}
	for _, k := range configKeys() {
		if v := getenv(k.name); v != "" {
			fromEnv[k.name] = v
		}
	}
	fromFile := readConfigFile(getenv, readFile, &faults)
	merged := koanf.New(".")
	for _, layer := range []map[string]any{fromFile, fromEnv} {
		if err := merged.Load(layerProvider{values: layer}, nil); err != nil {
			faults.invalid("CONFIG_PATH", "cannot be merged with the environment")
		}
	}
	c := fill(merged, &faults)
	c.check(&faults)
	slices.Sort(faults.Missing)
	slices.SortStableFunc(faults.Invalid, func(a, b InvalidKey) int { return cmp.Compare(a.Key, b.Key) })
	return c, faults
}

// readConfigFile returns the keys of the file that CONFIG_PATH or ENV selects.
func readConfigFile(getenv func(string) string, readFile func(string) ([]byte, error), faults *Faults) map[string]any {
	path, asked := getenv("CONFIG_PATH"), true
	if path == "" {
		path, asked = filepath.Join("deploy", "config", cmp.Or(getenv("ENV"), envDev)+".yaml"), false
		if env := getenv("ENV"); env != "" && !slices.Contains([]string{envDev, envStaging, envProd}, env) {
			return nil // ENV is reported; its value must not become a path
		}
	}
	body, err := readFile(path)
	switch {
	case !asked && errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil && asked:
		faults.invalid("CONFIG_PATH", "the file cannot be read")
		return nil
	case err != nil:
		faults.invalid("CONFIG_PATH", path+" cannot be read")
		return nil
	}
	file := koanf.New(".")
	if err := file.Load(layerProvider{raw: body}, yaml.Parser()); err != nil {
		faults.invalid("CONFIG_PATH", "the file is not a YAML mapping of keys to values"+lineOf(err))
		return nil
	}
	known := map[string]bool{}
	for _, k := range configKeys() {
		known[k.name] = true
	}
	values := file.Raw()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !known[name] {
			faults.invalid(name, "unknown key in the configuration file")
			delete(values, name)
		}
	}
	if _, ok := values["CONFIG_PATH"]; ok {
		faults.invalid("CONFIG_PATH", "is read from the environment alone")
		delete(values, "CONFIG_PATH")
	}
	return values
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

// lineOf keeps the line number of a YAML error and drops the rest, which quotes values.
func lineOf(err error) string {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		return " (line " + m[1] + ")"
	}
	return ""
}

// layerProvider hands koanf one layer: raw bytes for a parser, or ready values.
type layerProvider struct {
	raw    []byte
	values map[string]any
}

// ReadBytes implements koanf.Provider.
func (p layerProvider) ReadBytes() ([]byte, error) { return p.raw, nil }

// Read implements koanf.Provider.
func (p layerProvider) Read() (map[string]any, error) { return p.values, nil }

// fill reads every key of the table: value or default, and the faults of each.
func fill(merged *koanf.Koanf, faults *Faults) Config {
	var c Config
	for _, k := range configKeys() { // ENV is the first row: later defaults depend on it
		value, ok := configText(merged.Get(k.name))
		if !ok {
			faults.invalid(k.name, "want a single value")
			value = ""
		}
		if value != "" {
			problem := k.set(&c, value)
			if problem == "" {
				continue
			}
			faults.invalid(k.name, problem)
			if k.name == "ENV" {
				c.Env = envProd // the safe side: no development issuer, and reachable for whoever asks what is wrong
				continue
			}
		}
		if d := k.defaultFor(c.Env); d != "" {
			k.set(&c, d)
		}
	}
	if set, _ := configText(merged.Get("DEV_ISSUER_ENABLED")); set == "" {
		c.DevIssuerEnabled = c.Env == envDev && c.OIDCIssuer == ""
	}
	return c
}

// check finds what concerns more than one key.
func (c *Config) check(faults *Faults) {
	has := func(key string) bool {
		return slices.ContainsFunc(faults.Invalid, func(i InvalidKey) bool { return i.Key == key })
	}
	require := func(key, value string) {
		if value == "" && !has(key) {
			faults.Missing = append(faults.Missing, key)
		}
	}
	require("DATABASE_URL", c.DatabaseURL.Reveal())
	switch {
	case !c.DevIssuerEnabled:
		require("OIDC_ISSUER", c.OIDCIssuer)
		require("OIDC_AUDIENCE", c.OIDCAudience)
	case c.Env != envDev:
		faults.invalid("DEV_ISSUER_ENABLED", "the development issuer is refused outside ENV=dev")
	case c.OIDCIssuer != "":
		faults.invalid("DEV_ISSUER_ENABLED", "either OIDC_ISSUER or the development issuer")
	default:
		c.OIDCAudience = cmp.Or(c.OIDCAudience, "starling")
	}
	if c.DBMinConns > c.DBMaxConns && !has("DB_MIN_CONNS") && !has("DB_MAX_CONNS") {
		faults.invalid("DB_MIN_CONNS", "want at most DB_MAX_CONNS")
	}
	if 3*c.LeaseRenew > c.Lease && !has("LEASE_RENEW_MS") && !has("LEASE_MS") {
		faults.invalid("LEASE_RENEW_MS", "want at most a third of LEASE_MS")
	}
	ports := map[int]string{}
	for _, p := range []struct {
		key  string
		port int
	}{{"HTTP_PORT", c.HTTPPort}, {"LINK_PORT", c.LinkPort}, {"METRICS_PORT", c.MetricsPort}} {
		if other, taken := ports[p.port]; taken && p.port != 0 && !has(p.key) {
			faults.invalid(p.key, "the same as "+other)
		}
		ports[p.port] = p.key
	}
}

// configText turns a value of the file or the environment into text; lists become comma-separated.
func configText(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		return strings.TrimSpace(v), true
	case map[string]any:
		return "", false
	case []any:
		parts := make([]string, 0, len(v))
		for _, e := range v {
			part, ok := configText(e)
			if !ok {
				return "", false
			}
			parts = append(parts, part)
		}
		return strings.Join(parts, ","), true
	default:
		return fmt.Sprint(v), true
	}
}

// configKey is one row of the table of keys.
type configKey struct {
	name       string
	fallback   string                                         // default; "" = none
	devDefault string                                         // default under ENV=dev, "" = fallback
	set        func(c *Config, value string) (problem string) // leaves c alone when there is a problem
}

func (k configKey) defaultFor(env string) string {
	if env == envDev && k.devDefault != "" {
		return k.devDefault
	}
	return k.fallback
}

// configKeys is the table of all keys, ENV first: what is not here does not exist.
func configKeys() []configKey {
	return []configKey{
		{name: "ENV", fallback: envDev, set: oneOf(func(c *Config) *string { return &c.Env }, envDev, envStaging, envProd)},
		{name: "SERVICE_NAME", fallback: "starling", set: text(func(c *Config) *string { return &c.ServiceName }, 64)},
		{name: "LOG_LEVEL", fallback: "info", set: setLogLevel},
		{name: "CONFIG_PATH", set: text(func(c *Config) *string { return &c.ConfigPath }, 4096)},

		{name: "HTTP_HOST", fallback: "0.0.0.0", devDefault: "127.0.0.1", set: text(func(c *Config) *string { return &c.HTTPHost }, 253)},
		{name: "HTTP_PORT", fallback: "8080", set: number(func(c *Config) *int { return &c.HTTPPort }, 0, 65535)},
		{name: "REQUEST_TIMEOUT_MS", fallback: "10000", set: duration(func(c *Config) *time.Duration { return &c.RequestTimeout }, time.Millisecond, 1, 600_000)},
		{name: "SHUTDOWN_TIMEOUT_MS", fallback: "15000", set: duration(func(c *Config) *time.Duration { return &c.ShutdownTimeout }, time.Millisecond, 100, 600_000)},
		{name: "CORS_ALLOWED_ORIGINS", set: setOrigins},
		{name: "LINK_HOST", fallback: "0.0.0.0", devDefault: "127.0.0.1", set: text(func(c *Config) *string { return &c.LinkHost }, 253)},
		{name: "LINK_PORT", fallback: "8081", set: number(func(c *Config) *int { return &c.LinkPort }, 0, 65535)},
		{name: "METRICS_PORT", fallback: "0", set: number(func(c *Config) *int { return &c.MetricsPort }, 0, 65535)},

		{name: "DATABASE_URL", set: setDatabaseURL},
		{name: "DB_MAX_CONNS", fallback: "16", set: number(func(c *Config) *int { return &c.DBMaxConns }, 1, 1000)},
		{name: "DB_MIN_CONNS", fallback: "2", set: number(func(c *Config) *int { return &c.DBMinConns }, 0, 1000)},
		{name: "DB_CONN_MAX_IDLE_SECONDS", fallback: "300", set: duration(func(c *Config) *time.Duration { return &c.DBConnMaxIdle }, time.Second, 1, 86_400)},
		{name: "DB_CONN_MAX_LIFETIME_SECONDS", fallback: "3600", set: duration(func(c *Config) *time.Duration { return &c.DBConnMaxLifetime }, time.Second, 1, 604_800)},
		{name: "DB_AUTO_MIGRATE", fallback: "false", set: flag(func(c *Config) *bool { return &c.DBAutoMigrate })},

		{name: "OIDC_ISSUER", set: webURL(func(c *Config) *string { return &c.OIDCIssuer })},
		{name: "OIDC_AUDIENCE", set: text(func(c *Config) *string { return &c.OIDCAudience }, 256)},
		{name: "OIDC_JWKS_URL", set: webURL(func(c *Config) *string { return &c.OIDCJWKSURL })},
		{name: "JWKS_CACHE_TTL_SECONDS", fallback: "300", set: duration(func(c *Config) *time.Duration { return &c.JWKSCacheTTL }, time.Second, 1, 86_400)},
		{name: "JWT_CLOCK_SKEW_SECONDS", fallback: "30", set: duration(func(c *Config) *time.Duration { return &c.JWTClockSkew }, time.Second, 0, 300)},
		{name: "DEV_ISSUER_ENABLED", set: flag(func(c *Config) *bool { return &c.DevIssuerEnabled })},

		{name: "LEASE_MS", fallback: "1500", set: duration(func(c *Config) *time.Duration { return &c.Lease }, time.Millisecond, 300, 60_000)},
		{name: "LEASE_RENEW_MS", fallback: "300", set: duration(func(c *Config) *time.Duration { return &c.LeaseRenew }, time.Millisecond, 50, 20_000)},
		{name: "ZONE_TICK_MS", fallback: "100", set: duration(func(c *Config) *time.Duration { return &c.ZoneTick }, time.Millisecond, 10, 10_000)},
		{name: "DISPATCH_INTERVAL_MS", fallback: "250", set: duration(func(c *Config) *time.Duration { return &c.DispatchInterval }, time.Millisecond, 10, 60_000)},
	}
}

type setter = func(c *Config, value string) (problem string)

func text(field func(*Config) *string, longest int) setter {
	return func(c *Config, value string) string {
		if len(value) > longest || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Sprintf("want at most %d printable characters", longest)
		}
		*field(c) = value
		return ""
	}
}

func oneOf(field func(*Config) *string, choices ...string) setter {
	return func(c *Config, value string) string {
		if !slices.Contains(choices, value) {
			return "want one of " + strings.Join(choices, ", ")
		}
		*field(c) = value
		return ""
	}
}

func number(field func(*Config) *int, least, most int) setter {
	return func(c *Config, value string) string {
		n, err := strconv.Atoi(value)
		if err != nil || n < least || n > most {
			return fmt.Sprintf("want a whole number %d..%d", least, most)
		}
		*field(c) = n
		return ""
	}
}

func duration(field func(*Config) *time.Duration, unit time.Duration, least, most int) setter {
	return func(c *Config, value string) string {
		var n int
		if problem := number(func(*Config) *int { return &n }, least, most)(c, value); problem != "" {
			return problem
		}
		*field(c) = time.Duration(n) * unit
		return ""
	}
}

func flag(field func(*Config) *bool) setter {
	return func(c *Config, value string) string {
		b, err := strconv.ParseBool(value)
		if err != nil {
			return "want true or false"
		}
		*field(c) = b
		return ""
	}
}

func webURL(field func(*Config) *string) setter {
	return func(c *Config, value string) string {
		u, err := url.Parse(value)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return "want a URL http(s)://host…"
		}
		*field(c) = value
		return ""
	}
}

func setLogLevel(c *Config, value string) string {
	switch value {
	case "debug":
		c.LogLevel = slog.LevelDebug
	case "info":
		c.LogLevel = slog.LevelInfo
	case "warn":
		c.LogLevel = slog.LevelWarn
	case "error":
		c.LogLevel = slog.LevelError
	default:
		return "want one of debug, info, warn, error"
	}
	return ""
}

func setDatabaseURL(c *Config, value string) string {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return "want a URL postgres://user:password@host:port/database"
	}
	c.DatabaseURL = NewSecret(value)
	return ""
}

func setOrigins(c *Config, value string) string {
	var origins []string
	for part := range strings.SplitSeq(value, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		u, err := url.Parse(part)
		if part != "*" && (err != nil || u.Scheme == "" || u.Host == "" || strings.Trim(u.Path, "/") != "") {
			return "want origins such as https://host:port, separated by commas, or *"
		}
		origins = append(origins, strings.TrimSuffix(part, "/"))
	}
	c.CORSAllowedOrigins = origins
	return ""
}
