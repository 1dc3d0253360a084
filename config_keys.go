package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// configKey is one row of the table of keys.
type configKey struct {
	name       string
	fallback   string                                         // default; "" = none
	devDefault string                                         // default under ENV=dev, "" = fallback
	set        func(c *Config, value string) (problem string) // leaves c alone when there is a problem
	secret     bool                                           // may stand in a file instead, which <name>_FILE names
}

func (k configKey) defaultFor(env string) string {
	if env == envDev && k.devDefault != "" {
		return k.devDefault
	}
	return k.fallback
}

// configKeys is the table of all keys, ENV first: what is not here does not exist.
func configKeys() []configKey {
	return append([]configKey{
		{name: "ENV", fallback: envDev, set: oneOf(func(c *Config) *string { return &c.Env }, envDev, envStaging, envProd)},
		{name: "SERVICE_NAME", fallback: "starling", set: text(func(c *Config) *string { return &c.ServiceName }, 64)},
		{name: "LOG_LEVEL", fallback: "info", set: setLogLevel},
		{name: "CONFIG_PATH", set: text(func(c *Config) *string { return &c.ConfigPath }, 4096)},

		{name: "HTTP_HOST", fallback: "0.0.0.0", devDefault: "127.0.0.1", set: text(func(c *Config) *string { return &c.HTTPHost }, 253)},
		{name: "HTTP_PORT", fallback: "8080", set: number(func(c *Config) *int { return &c.HTTPPort }, 0, 65535)},
		{name: "REQUEST_TIMEOUT_MS", fallback: "10000", set: duration(func(c *Config) *time.Duration { return &c.RequestTimeout }, time.Millisecond, 1, 600_000)},
		{name: "SHUTDOWN_TIMEOUT_MS", fallback: "15000", set: duration(func(c *Config) *time.Duration { return &c.ShutdownTimeout }, time.Millisecond, 100, 600_000)},
		{name: "CORS_ALLOWED_ORIGINS", set: setOrigins},
		{name: "HTTP_TLS_CERT_FILE", set: text(func(c *Config) *string { return &c.HTTPCertFile }, 4096)},
		{name: "HTTP_TLS_KEY_FILE", set: text(func(c *Config) *string { return &c.HTTPKeyFile }, 4096)},
		{name: "LINK_HOST", fallback: "0.0.0.0", devDefault: "127.0.0.1", set: text(func(c *Config) *string { return &c.LinkHost }, 253)},
		{name: "LINK_PORT", fallback: "8081", set: number(func(c *Config) *int { return &c.LinkPort }, 0, 65535)},
		{name: "LINK_TLS_CERT_FILE", set: text(func(c *Config) *string { return &c.LinkCertFile }, 4096)},
		{name: "LINK_TLS_KEY_FILE", set: text(func(c *Config) *string { return &c.LinkKeyFile }, 4096)},
		{name: "LINK_TLS_CLIENT_CA_FILE", set: text(func(c *Config) *string { return &c.LinkClientCAFile }, 4096)},
		{name: "LINK_TRUST_DOMAIN", fallback: "starling", set: setTrustDomain},
		{name: "TRUSTED_PROXIES", set: networks(func(c *Config) *[]netip.Prefix { return &c.TrustedProxies })},
		{name: "WEBHOOK_NETWORKS", devDefault: "127.0.0.0/8,::1", set: networks(func(c *Config) *[]netip.Prefix { return &c.WebhookNetworks })},
		{name: "HTTP_MAX_CONNS", fallback: "20000", set: number(func(c *Config) *int { return &c.HTTPMaxConns }, 1, 1_000_000)},
		{name: "LINK_MAX_CONNS", fallback: "20000", set: number(func(c *Config) *int { return &c.LinkMaxConns }, 1, 1_000_000)},
		{name: "MAX_CONNS_PER_IP", fallback: "20000", devDefault: "1000000", set: number(func(c *Config) *int { return &c.MaxConnsPerIP }, 1, 1_000_000)},
		{name: "METRICS_PORT", fallback: "0", set: number(func(c *Config) *int { return &c.MetricsPort }, 0, 65535)},

		{name: "DATABASE_URL", set: setDatabaseURL, secret: true},
		{name: "DATABASE_URL" + fileSuffix, set: text(unkept, 4096)},
		{name: "DB_MAX_CONNS", fallback: "16", set: number(func(c *Config) *int { return &c.DBMaxConns }, 1, 1000)},
		{name: "DB_MIN_CONNS", fallback: "2", set: number(func(c *Config) *int { return &c.DBMinConns }, 0, 1000)},
		{name: "DB_CONN_MAX_IDLE_SECONDS", fallback: "300", set: duration(func(c *Config) *time.Duration { return &c.DBConnMaxIdle }, time.Second, 1, 86_400)},
		{name: "DB_CONN_MAX_LIFETIME_SECONDS", fallback: "3600", set: duration(func(c *Config) *time.Duration { return &c.DBConnMaxLifetime }, time.Second, 1, 604_800)},
		{name: "DB_AUTO_MIGRATE", fallback: "false", set: flag(func(c *Config) *bool { return &c.DBAutoMigrate })},

		{name: "OIDC_ISSUER", set: webURL(func(c *Config) *string { return &c.OIDCIssuer })},
		{name: "OIDC_AUDIENCE", set: text(func(c *Config) *string { return &c.OIDCAudience }, 256)},
		{name: "OIDC_JWKS_URL", set: webURL(func(c *Config) *string { return &c.OIDCJWKSURL })},
		{name: "OIDC_ISSUERS_FILE", set: text(func(c *Config) *string { return &c.OIDCIssuersFile }, 4096)},
		{name: "OIDC_ROLE_MAP", set: setRoleMap},
		{name: "OIDC_CLIENT_ID", fallback: "starling-page", set: text(func(c *Config) *string { return &c.OIDCClientID }, 256)},
		{name: "JWKS_CACHE_TTL_SECONDS", fallback: "300", set: duration(func(c *Config) *time.Duration { return &c.JWKSCacheTTL }, time.Second, 1, 86_400)},
		{name: "JWT_CLOCK_SKEW_SECONDS", fallback: "30", set: duration(func(c *Config) *time.Duration { return &c.JWTClockSkew }, time.Second, 0, 300)},
		{name: "DEV_ISSUER_ENABLED", set: flag(func(c *Config) *bool { return &c.DevIssuerEnabled })},

		{name: "ROLE_OVERRIDE_ENABLED", fallback: "false", set: flag(func(c *Config) *bool { return &c.RoleOverride })},
		{name: "AUDIT_ENABLED", fallback: "true", set: flag(func(c *Config) *bool { return &c.AuditEnabled })},
		{name: "AUDIT_READS", fallback: "true", set: flag(func(c *Config) *bool { return &c.AuditReads })},
		{name: "AUDIT_DIR", fallback: ".starling/audit", set: text(func(c *Config) *string { return &c.AuditDir }, 4096)},
		{name: "AUDIT_RETENTION_MONTHS", fallback: "24", set: number(func(c *Config) *int { return &c.AuditMonths }, 1, 240)},
		{name: "REDIS_URL", set: setRedisURL, secret: true},
		{name: "REDIS_URL" + fileSuffix, set: text(unkept, 4096)},

		{name: "INFLUX_URL", set: webURL(func(c *Config) *string { return &c.InfluxURL })},
		{name: "INFLUX_ORG", set: text(func(c *Config) *string { return &c.InfluxOrg }, 256)},
		{name: "INFLUX_TOKEN", set: setInfluxToken, secret: true},
		{name: "INFLUX_TOKEN" + fileSuffix, set: text(unkept, 4096)},
		{name: "INFLUX_BUCKET", fallback: "starling", set: text(func(c *Config) *string { return &c.InfluxBucket }, 256)},
		{name: "INFLUX_DIR", fallback: ".starling/influx", set: text(func(c *Config) *string { return &c.InfluxDir }, 4096)},
		{name: "INFLUX_SPOOL_MB", fallback: "256", set: number(func(c *Config) *int { return &c.InfluxSpool }, 1, 1_000_000)},

		{name: "OUTBOX_RETENTION_DAYS", fallback: "3", set: number(func(c *Config) *int { return &c.OutboxDays }, 1, 365)},

		{name: "LEASE_MS", fallback: "1500", set: duration(func(c *Config) *time.Duration { return &c.Lease }, time.Millisecond, 300, 60_000)},
		{name: "LEASE_RENEW_MS", fallback: "300", set: duration(func(c *Config) *time.Duration { return &c.LeaseRenew }, time.Millisecond, 50, 20_000)},
		{name: "ZONE_TICK_MS", fallback: "100", set: duration(func(c *Config) *time.Duration { return &c.ZoneTick }, time.Millisecond, 10, 10_000)},
		{name: "DISPATCH_INTERVAL_MS", fallback: "250", set: duration(func(c *Config) *time.Duration { return &c.DispatchInterval }, time.Millisecond, 10, 60_000)},
	}, kafkaKeys()...)
}

func kafkaKeys() []configKey {
	return []configKey{
		{name: "KAFKA_BROKERS", set: setBrokers},
		{name: "KAFKA_TLS", fallback: "false", set: flag(func(c *Config) *bool { return &c.KafkaTLS })},
		{name: "KAFKA_TLS_CA_FILE", set: text(func(c *Config) *string { return &c.KafkaCAFile }, 4096)},
		{name: "KAFKA_USER", set: text(func(c *Config) *string { return &c.KafkaUser }, 256)},
		{name: "KAFKA_PASSWORD", set: setKafkaPassword, secret: true},
		{name: "KAFKA_PASSWORD" + fileSuffix, set: text(unkept, 4096)},
		{name: "KAFKA_TOPIC_PREFIX", set: setTopicPrefix},
		{name: "KAFKA_REPLICATION", fallback: "0", set: number(func(c *Config) *int { return &c.KafkaReplication }, 0, 100)},
		{name: "KAFKA_JSON", fallback: "false", set: flag(func(c *Config) *bool { return &c.KafkaJSON })},
	}
}

// fileSuffix makes a secret's key the key of the file that holds it: one value, line ends around it do not count.
const fileSuffix = "_FILE"

// unkept is where the path of a secret's file goes: it has been read by then.
func unkept(*Config) *string { return new(string) }

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

func setRedisURL(c *Config, value string) string {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" {
		return "want a URL redis://user:password@host:port/number or rediss://…"
	}
	c.RedisURL = NewSecret(value)
	return ""
}

func setInfluxToken(c *Config, value string) string {
	c.InfluxToken = NewSecret(value)
	return ""
}

func setKafkaPassword(c *Config, value string) string {
	c.KafkaPassword = NewSecret(value)
	return ""
}

func setBrokers(c *Config, value string) string {
	var brokers []string
	for part := range strings.SplitSeq(value, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		host, port, err := net.SplitHostPort(part)
		if n, bad := strconv.Atoi(port); err != nil || host == "" || bad != nil || n < 1 || n > 65535 {
			return "want host:port, several separated by commas"
		}
		brokers = append(brokers, part)
	}
	c.KafkaBrokers = brokers
	return ""
}

func setTopicPrefix(c *Config, value string) string {
	if len(value) > 100 || strings.ContainsFunc(value, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_", r)
	}) {
		return "want at most 100 letters, digits and .-_"
	}
	c.KafkaPrefix = value
	return ""
}

func setTrustDomain(c *Config, value string) string {
	if len(value) > 255 || strings.ContainsFunc(value, func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789.-_", r) }) {
		return "want a name of at most 255 small letters, digits and .-_"
	}
	c.LinkTrustDomain = value
	return ""
}

// networks reads addresses and networks; all addresses there are is a mistake.
func networks(field func(*Config) *[]netip.Prefix) setter {
	return func(c *Config, value string) string {
		var all []netip.Prefix
		for part := range strings.SplitSeq(value, ",") {
			part = strings.TrimSpace(part)
			if part == "" {
				continue
			}
			if a, err := netip.ParseAddr(part); err == nil && a.Zone() == "" {
				all = append(all, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
				continue
			}
			p, err := netip.ParsePrefix(part)
			if err != nil || p.Addr().Is4In6() || p.Bits() == 0 {
				return "want addresses and networks such as 10.0.0.0/8, separated by commas, and not all addresses there are"
			}
			all = append(all, p.Masked())
		}
		*field(c) = all
		return ""
	}
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
