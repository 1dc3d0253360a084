package kafka

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Options say how to connect. The zero value of a field is its stated default.
type Options struct {
	Brokers     []string // host:port, to begin with; at least one
	Prefix      string   // of the names of topics and groups on the brokers; "" = none
	TLS         bool     // speak with the brokers by TLS
	CAFile      string   // PEM authorities of their certificates, with TLS; "" = the machine's
	User        string   // signs in by SCRAM-SHA-512; "" = as nobody
	Password    string
	ClientID    string        // names the process to the brokers; "" = starling
	Replication int           // replicas of topics that are created; 0 = as the brokers are told
	JSON        bool          // a mirror of each topic of facts in JSON, <topic>.json
	Timeout     time.Duration // after which a record that is not known to be kept is given up; 0 = 10 s
	Linger      time.Duration // how long a record waits for company; 0 = 2 ms
	Buffered    int           // records that wait at most; 0 = 65,536
	Log         *slog.Logger  // nil = silence
	Registerer  prometheus.Registerer
}

// errNoBrokers: a dependency without an address does not exist; nobody should have come this far.
var errNoBrokers = errors.New("connect to kafka: no brokers")

// NewClient prepares a client of the brokers, with more of its options; it connects when it is first used. Consumers begin
// here. Errors: no brokers, or options that contradict one another.
func NewClient(o Options, more ...kgo.Opt) (*kgo.Client, error) {
	if len(o.Brokers) == 0 {
		return nil, errNoBrokers
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	secure, err := o.secure()
	if err != nil {
		return nil, err
	}
	c, err := kgo.NewClient(slices.Concat([]kgo.Opt{
		kgo.SeedBrokers(o.Brokers...),
		kgo.ClientID(cmp.Or(o.ClientID, "starling")),
		kgo.WithLogger(libraryLog{log}),
		kgo.DialTimeout(2 * time.Second),
		kgo.RequestTimeoutOverhead(3 * time.Second), // of one answer; a broker that hangs is left
		kgo.RetryTimeout(10 * time.Second),
		kgo.RetryBackoffFn(backoff),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.MetadataMaxAge(time.Minute),
	}, secure, more)...)
	if err != nil {
		return nil, fmt.Errorf("prepare the client of kafka: %w", err)
	}
	return c, nil
}

// secure are the options of who the brokers are and who we are.
func (o *Options) secure() (opts []kgo.Opt, err error) {
	if o.TLS {
		c := &tls.Config{MinVersion: tls.VersionTLS12}
		if o.CAFile != "" {
			pem, err := os.ReadFile(o.CAFile)
			if err != nil {
				return nil, fmt.Errorf("read the authorities of kafka: %w", err)
			}
			c.RootCAs = x509.NewCertPool()
			if !c.RootCAs.AppendCertsFromPEM(pem) {
				return nil, errors.New("read the authorities of kafka: no certificate in the file")
			}
		}
		opts = append(opts, kgo.DialTLSConfig(c))
	}
	if o.User != "" {
		opts = append(opts, kgo.SASL(scram.Auth{User: o.User, Pass: o.Password}.AsSha512Mechanism()))
	}
	return opts, nil
}

// backoff is how long the library waits before its nth try of a request: soon, then twice as long, up to a second, so that
// a broker that is back is noticed within it.
func backoff(n int) time.Duration {
	return min(50*time.Millisecond<<min(n, 5), time.Second)
}

// Name is a topic's or group's name on the brokers.
func (o *Options) Name(name string) string { return o.Prefix + name }

// libraryLog takes what the library would say. It says much while brokers are away: what matters of that is a metric and a
// line of ours.
type libraryLog struct{ log *slog.Logger }

// Level implements kgo.Logger.
func (l libraryLog) Level() kgo.LogLevel {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelNone
}

// Log implements kgo.Logger.
func (l libraryLog) Log(_ kgo.LogLevel, msg string, pairs ...any) {
	var detail strings.Builder
	detail.WriteString(msg)
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(&detail, " %v=%v", pairs[i], pairs[i+1])
	}
	l.log.LogAttrs(context.Background(), slog.LevelDebug, "kafka client", slog.String("event", "kafka.client"), slog.String("detail", detail.String()))
}
