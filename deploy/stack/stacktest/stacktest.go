// Package stacktest gives integration tests real servers: PostgreSQL with PostGIS, Redis, Kafka, InfluxDB, Mosquitto and
// Keycloak, one private instance of each per test binary, started at first use. Only tests import it. A missing server
// fails the test, it never skips. Database gives one fresh database per call; what tests write into the others or change
// in Keycloak stays until the binary ends, so they use keys and topics of their own and put back what they changed.
//
// The servers end with the test binary, however that ends (stack.Guard).
package stacktest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"starling/deploy/stack"
)

const startTimeout = 15 * time.Minute // what a machine has for the first time is fetched and built

// server is one server of this test binary.
type server[S any] struct {
	once   sync.Once
	server S
	err    error
	end    func() error // nil = not started
}

//nolint:gochecknoglobals // one server of each kind per test binary, whichever test asks first
var (
	postgres server[*stack.Postgres]
	redis    server[*stack.Redis]
	keycloak server[*stack.Keycloak]
	kafka    server[*stack.Kafka]
	influx   server[*stack.Influx]
	mqtt     server[*stack.Mosquitto]
)

// Main runs the tests of a package and then stops the servers that were started, waiting until they are gone:
//
//	func TestMain(m *testing.M) { stacktest.Main(m) }
func Main(m *testing.M) {
	m.Run()
	if err := errors.Join(mqtt.stop(), influx.stop(), kafka.stop(), keycloak.stop(), redis.stop(), postgres.stop()); err != nil {
		fmt.Fprintln(os.Stderr, "stop the test servers:", err)
	}
}

// Database returns the URL of a new database (superuser, extension postgis, nothing else in it), dropped at the
// end of the test. Roles belong to the whole cluster: databases of parallel tests share them.
func Database(tb testing.TB) string {
	tb.Helper()
	p := Cluster(tb)
	name := "t_" + strings.ToLower(rand.Text())
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	if _, err := p.Exec(ctx, "postgres", "CREATE DATABASE "+name+" TEMPLATE "+stack.Database); err != nil {
		tb.Fatalf("make a test database: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout) // the test's is over
		defer cancel()
		if _, err := p.Exec(ctx, "postgres", "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			tb.Errorf("drop the test database: %v", err)
		}
	})
	return p.DatabaseURL(name)
}

// Cluster returns the PostgreSQL of this test binary. A test that stops or kills servers starts its own
// with stack.Start instead.
func Cluster(tb testing.TB) *stack.Postgres {
	tb.Helper()
	return postgres.get(tb, startPostgres)
}

// Redis returns the Redis of this test binary. A test that stops or kills it starts its own with OwnRedis.
func Redis(tb testing.TB) *stack.Redis {
	tb.Helper()
	return redis.get(tb, startRedis)
}

// Kafka returns the Kafka of this test binary. It makes no topic by itself; tests use topics and groups of their own. A
// test that stops or kills it starts its own with OwnKafka.
func Kafka(tb testing.TB) *stack.Kafka {
	tb.Helper()
	return kafka.get(tb, startKafka)
}

// OwnKafka starts a Kafka for one test and ends it with the test, or with the binary.
func OwnKafka(tb testing.TB) *stack.Kafka {
	tb.Helper()
	return own(tb, startKafka)
}

// Influx returns the InfluxDB of this test binary; tests use buckets of their own. A test that stops or kills it starts
// its own with OwnInflux.
func Influx(tb testing.TB) *stack.Influx {
	tb.Helper()
	return influx.get(tb, startInflux)
}

// OwnInflux starts an InfluxDB for one test and ends it with the test, or with the binary.
func OwnInflux(tb testing.TB) *stack.Influx {
	tb.Helper()
	return own(tb, startInflux)
}

// Mosquitto returns the MQTT broker of this test binary; tests use topics of their own.
func Mosquitto(tb testing.TB) *stack.Mosquitto {
	tb.Helper()
	return mqtt.get(tb, func(ctx context.Context, dir string) (*stack.Mosquitto, func() error, error) {
		m, err := stack.StartMosquitto(ctx, stack.MosquittoOptions{Dir: dir, Guarded: true})
		return m, m.Remove, err
	})
}

// OwnRedis starts a Redis for one test and ends it with the test, or with the binary.
func OwnRedis(tb testing.TB) *stack.Redis {
	tb.Helper()
	return own(tb, startRedis)
}

// Keycloak returns the Keycloak of this test binary, with the realm of deploy/stack/realm as it stands there. A test
// that stops it or turns its keys starts its own with OwnKeycloak.
func Keycloak(tb testing.TB) *stack.Keycloak {
	tb.Helper()
	return keycloak.get(tb, startKeycloak)
}

// OwnKeycloak starts a Keycloak for one test and ends it with the test, or with the binary.
func OwnKeycloak(tb testing.TB) *stack.Keycloak {
	tb.Helper()
	return own(tb, startKeycloak)
}

// own starts a server for one test.
func own[S any](tb testing.TB, start func(ctx context.Context, dir string) (S, func() error, error)) S {
	tb.Helper()
	var s server[S]
	started := s.get(tb, start)
	tb.Cleanup(func() {
		if err := s.stop(); err != nil {
			tb.Errorf("stop the test's server: %v", err)
		}
	})
	return started
}

func startPostgres(ctx context.Context, dir string) (*stack.Postgres, func() error, error) {
	p, err := stack.Start(ctx, stack.Options{Dir: dir, Fast: true})
	if err != nil {
		return nil, nil, errors.Join(err, stack.Remove(ctx, dir))
	}
	guard, err := stack.NewGuard(p.StopCommand(), dir, p.Base())
	if err != nil {
		return nil, nil, errors.Join(err, stack.Remove(ctx, dir))
	}
	return p, guard.Close, nil
}

func startKeycloak(ctx context.Context, dir string) (*stack.Keycloak, func() error, error) {
	k, err := stack.StartKeycloak(ctx, stack.KeycloakOptions{Dir: dir, Guarded: true})
	return k, k.Remove, err
}

func startRedis(ctx context.Context, dir string) (*stack.Redis, func() error, error) {
	r, err := stack.StartRedis(ctx, stack.RedisOptions{Dir: dir, Guarded: true})
	return r, r.Remove, err
}

func startInflux(ctx context.Context, dir string) (*stack.Influx, func() error, error) {
	i, err := stack.StartInflux(ctx, stack.InfluxOptions{Dir: dir, Guarded: true})
	return i, i.Remove, err
}

func startKafka(ctx context.Context, dir string) (*stack.Kafka, func() error, error) {
	k, err := stack.StartKafka(ctx, stack.KafkaOptions{Dir: dir, Guarded: true, Fast: true})
	return k, k.Remove, err
}

// get starts the server at the first call. start returns it with what ends it and removes its folder.
func (s *server[S]) get(tb testing.TB, start func(ctx context.Context, dir string) (S, func() error, error)) S {
	tb.Helper()
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		dir, err := Dir()
		if err != nil {
			s.err = err
			return
		}
		started, end, err := start(ctx, dir)
		if err != nil {
			s.err = errors.Join(err, os.RemoveAll(dir))
			return
		}
		s.server, s.end = started, end
	})
	if s.err != nil {
		tb.Fatalf("start the test server: %v", s.err)
	}
	return s.server
}

func (s *server[S]) stop() error {
	if s.end == nil {
		return nil
	}
	return s.end()
}

// Dir makes a new temporary folder that the server's account can enter. The folder of testing.TB.TempDir
// is not one when root runs the tests: its parents are closed to others. The caller ends it with stack.Remove.
func Dir() (string, error) {
	dir, err := os.MkdirTemp("", "starling-test-")
	if err != nil {
		return "", fmt.Errorf("make a folder for the test server: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // see above
		return "", fmt.Errorf("open the folder of the test server: %w", err)
	}
	return dir, nil
}
