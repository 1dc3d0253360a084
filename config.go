package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
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
	CORSAllowedOrigins []string      // CORS_ALLOWED_ORIGINS: comma-separated; empty = no cross-origin calls but those that tenants allow
	HTTPCertFile       string        // HTTP_TLS_CERT_FILE: PEM chain; "" = plain HTTP, for a proxy in front or for loopback
	HTTPKeyFile        string        // HTTP_TLS_KEY_FILE
	LinkHost           string        // LINK_HOST: address that the robots' gRPC link listens on
	LinkPort           int           // LINK_PORT; 0 = any free one
	LinkCertFile       string        // LINK_TLS_CERT_FILE: PEM chain; "" = plain gRPC
	LinkKeyFile        string        // LINK_TLS_KEY_FILE
	LinkClientCAFile   string        // LINK_TLS_CLIENT_CA_FILE: who signs robots' certificates; "" = tokens alone
	LinkTrustDomain    string        // LINK_TRUST_DOMAIN: of the names in those certificates, spiffe://<domain>/…
	MetricsPort        int           // METRICS_PORT; 0 = /metrics on the HTTP port
	// TRUSTED_PROXIES: addresses and networks, separated by commas, whose X-Forwarded-For and X-Forwarded-Proto are believed
	TrustedProxies []netip.Prefix
	// WEBHOOK_NETWORKS: addresses and networks, separated by commas, inside which receivers of webhooks may stand besides the
	// public ones, there without TLS too
	WebhookNetworks []netip.Prefix
	HTTPMaxConns    int // HTTP_MAX_CONNS: open connections to the HTTP port; what is more is closed at once
	LinkMaxConns    int // LINK_MAX_CONNS
	MaxConnsPerIP   int // MAX_CONNS_PER_IP: of one address (IPv6: /64) to each port, trusted proxies aside

	DatabaseURL       Secret        // DATABASE_URL: postgres://…; required
	DBMaxConns        int           // DB_MAX_CONNS
	DBMinConns        int           // DB_MIN_CONNS, at most DBMaxConns
	DBConnMaxIdle     time.Duration // DB_CONN_MAX_IDLE_SECONDS
	DBConnMaxLifetime time.Duration // DB_CONN_MAX_LIFETIME_SECONDS
	DBAutoMigrate     bool          // DB_AUTO_MIGRATE: migrate up at start

	OIDCIssuer       string            // OIDC_ISSUER: required unless OIDC_ISSUERS_FILE names issuers or the development issuer is on
	OIDCAudience     string            // OIDC_AUDIENCE: required with OIDC_ISSUER
	OIDCIssuersFile  string            // OIDC_ISSUERS_FILE: several issuers, each for its tenants, instead of OIDC_ISSUER
	OIDCRoleMap      map[string]string // OIDC_ROLE_MAP: theirs=ours,… ; roles of the contract's names need no entry
	OIDCClientID     string            // OIDC_CLIENT_ID: as whom the page signs people in
	OIDCJWKSURL      string            // OIDC_JWKS_URL: "" = from the issuer's discovery document
	JWKSCacheTTL     time.Duration     // JWKS_CACHE_TTL_SECONDS
	JWTClockSkew     time.Duration     // JWT_CLOCK_SKEW_SECONDS
	DevIssuerEnabled bool              // DEV_ISSUER_ENABLED: this process issues tokens; only under ENV=dev

	Issuers []OIDCIssuer // whose tokens are taken, from OIDC_ISSUERS_FILE or the keys of the one; none with the development issuer

	RoleOverride bool   // ROLE_OVERRIDE_ENABLED: users.role, where set, replaces the token's roles
	AuditEnabled bool   // AUDIT_ENABLED
	AuditReads   bool   // AUDIT_READS: reads of single robots and tasks are recorded too
	AuditDir     string // AUDIT_DIR: where entries wait while the database is away
	AuditMonths  int    // AUDIT_RETENTION_MONTHS: whole months kept before the present one
	RedisURL     Secret // REDIS_URL: redis://…; "" = quotas are counted by each process alone

	InfluxURL    string // INFLUX_URL: http(s)://host:port; "" = there is no InfluxDB, histories are what the engine remembers
	InfluxOrg    string // INFLUX_ORG
	InfluxToken  Secret // INFLUX_TOKEN
	InfluxBucket string // INFLUX_BUCKET: of what was measured; <bucket>_1m and <bucket>_15m stand beside it
	InfluxDir    string // INFLUX_DIR: where measurements wait while InfluxDB is away
	InfluxSpool  int    // INFLUX_SPOOL_MB: there, at most

	KafkaBrokers     []string // KAFKA_BROKERS: host:port, separated by commas; empty = there is no Kafka, facts wait in the outbox
	KafkaTLS         bool     // KAFKA_TLS: speak with the brokers by TLS
	KafkaCAFile      string   // KAFKA_TLS_CA_FILE: PEM authorities of their certificates; "" = the machine's
	KafkaUser        string   // KAFKA_USER: signs in by SCRAM-SHA-512; "" = as nobody
	KafkaPassword    Secret   // KAFKA_PASSWORD: needed with KAFKA_USER
	KafkaPrefix      string   // KAFKA_TOPIC_PREFIX: of the names of topics and groups
	KafkaReplication int      // KAFKA_REPLICATION: replicas of topics that are created; 0 = as the brokers are told
	KafkaJSON        bool     // KAFKA_JSON: facts in JSON too, in topics <topic>.json
	OutboxDays       int      // OUTBOX_RETENTION_DAYS: whole days that sent facts are kept

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
	for _, layer := range []map[string]any{fromFile, fromEnv} {
		readSecrets(layer, readFile, &faults)
	}
	merged := koanf.New(".")
	for _, layer := range []map[string]any{fromFile, fromEnv} {
		if err := merged.Load(layerProvider{values: layer}, nil); err != nil {
			faults.invalid("CONFIG_PATH", "cannot be merged with the environment")
		}
	}
	c := fill(merged, &faults)
	c.check(&faults, readFile)
	c.checkTLS(readFile, &faults)
	slices.Sort(faults.Missing)
	slices.SortStableFunc(faults.Invalid, func(a, b InvalidKey) int { return cmp.Compare(a.Key, b.Key) })
	return c, faults
}

// maxSecret bounds the file of a secret in bytes.
const maxSecret = 64 << 10

// readSecrets puts the secrets of a layer that stand in files in their keys' places.
func readSecrets(layer map[string]any, readFile func(string) ([]byte, error), faults *Faults) {
	for _, k := range configKeys() {
		path, ok := configText(layer[k.name+fileSuffix])
		if !k.secret || !ok || path == "" {
			continue
		}
		if own, _ := configText(layer[k.name]); own != "" {
			faults.invalid(k.name+fileSuffix, "either "+k.name+" or "+k.name+fileSuffix)
			continue
		}
		body, err := readFile(path)
		value := strings.TrimSpace(string(body))
		switch {
		case err != nil:
			faults.invalid(k.name+fileSuffix, "the file cannot be read")
		case value == "" || len(body) > maxSecret:
			faults.invalid(k.name+fileSuffix, "want a file with the value alone")
		default:
			layer[k.name] = value
		}
	}
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
		c.DevIssuerEnabled = c.Env == envDev && c.OIDCIssuer == "" && c.OIDCIssuersFile == ""
	}
	return c
}

// check finds what concerns more than one key.
func (c *Config) check(faults *Faults, read func(string) ([]byte, error)) {
	has := func(key string) bool {
		return slices.ContainsFunc(faults.Invalid, func(i InvalidKey) bool { return i.Key == key })
	}
	require := func(key, value string) {
		if value == "" && !has(key) {
			faults.Missing = append(faults.Missing, key)
		}
	}
	require("DATABASE_URL", c.DatabaseURL.Reveal())
	c.checkOIDC(faults, read, require)
	if c.InfluxURL != "" {
		require("INFLUX_ORG", c.InfluxOrg)
		require("INFLUX_TOKEN", c.InfluxToken.Reveal())
	}
	if c.KafkaUser != "" {
		require("KAFKA_PASSWORD", c.KafkaPassword.Reveal())
	}
	if c.KafkaCAFile != "" && !c.KafkaTLS {
		faults.invalid("KAFKA_TLS_CA_FILE", "is of use with KAFKA_TLS alone")
	}
	if c.DBMinConns > c.DBMaxConns && !has("DB_MIN_CONNS") && !has("DB_MAX_CONNS") {
		faults.invalid("DB_MIN_CONNS", "want at most DB_MAX_CONNS")
	}
	if 3*c.LeaseRenew > c.Lease && !has("LEASE_RENEW_MS") && !has("LEASE_MS") {
		faults.invalid("LEASE_RENEW_MS", "want at most a third of LEASE_MS")
	}
	for _, pair := range [][4]string{
		{"HTTP_TLS_CERT_FILE", c.HTTPCertFile, "HTTP_TLS_KEY_FILE", c.HTTPKeyFile},
		{"LINK_TLS_CERT_FILE", c.LinkCertFile, "LINK_TLS_KEY_FILE", c.LinkKeyFile},
	} {
		if pair[1] != "" || pair[3] != "" {
			require(pair[0], pair[1])
			require(pair[2], pair[3])
		}
	}
	if c.LinkClientCAFile != "" {
		require("LINK_TLS_CERT_FILE", c.LinkCertFile)
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
