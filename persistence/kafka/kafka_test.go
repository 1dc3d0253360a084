package kafka_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"starling/persistence/kafka"
)

// broker is a Kafka in the process.
func broker(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func open(t *testing.T, o kafka.Options) *kafka.Client {
	t.Helper()
	c, err := kafka.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// read returns the next n records of a topic.
func read(t *testing.T, o kafka.Options, topic string, n int) []*kgo.Record {
	t.Helper()
	c, err := kafka.NewClient(o, kgo.ConsumeTopics(o.Name(topic)), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []*kgo.Record
	for len(got) < n {
		f := c.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("%d of %d records of %s: %v", len(got), n, topic, err)
		}
		got = append(got, f.Records()...)
	}
	return got
}

func TestWhatIsPublishedIsThereWithKeyAndHeaders(t *testing.T) {
	t.Parallel()
	o := kafka.Options{Brokers: broker(t).ListenAddrs(), Prefix: "east."}
	c := open(t, o)
	if err := c.EnsureTopics(t.Context()); err != nil {
		t.Fatal(err)
	}
	records := []kafka.Record{
		{Topic: kafka.TopicTaskEvents, Key: "a", Value: []byte("1"), TenantID: "t", Headers: []kafka.Header{{Key: "ce_id", Value: []byte("x")}}},
		{Topic: kafka.TopicTaskEvents, Key: "a", Value: []byte("2")},
	}
	for _, err := range c.Publish(t.Context(), records) {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := read(t, o, kafka.TopicTaskEvents, 2)
	if string(got[0].Value)+string(got[1].Value) != "12" || string(got[0].Key) != "a" || got[0].Topic != "east.task.events" {
		t.Fatalf("got %+v %+v", got[0], got[1])
	}
	headers := map[string]string{}
	for _, h := range got[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	if headers["ce_id"] != "x" || headers["tenant_id"] != "t" {
		t.Errorf("headers %v", headers)
	}
}

// What has waited in the outbox while the brokers were away is old when it leaves.
func TestAnOldRecordIsKept(t *testing.T) {
	t.Parallel()
	o := kafka.Options{Brokers: broker(t).ListenAddrs()}
	c := open(t, o)
	if err := c.EnsureTopics(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	for range 3 {
		if errs := c.Publish(t.Context(), []kafka.Record{{Topic: kafka.TopicAlerts, Key: "a", Value: []byte("1"), At: at}}); errs[0] != nil {
			t.Fatal(errs[0])
		}
	}
	if got := read(t, o, kafka.TopicAlerts, 3); !got[0].Timestamp.Equal(at) {
		t.Errorf("its time is %v", got[0].Timestamp)
	}
}

func TestARecordThatIsTooLargeIsRefusedAndOthersPass(t *testing.T) {
	t.Parallel()
	c := open(t, kafka.Options{Brokers: broker(t).ListenAddrs()})
	if err := c.EnsureTopics(t.Context()); err != nil {
		t.Fatal(err)
	}
	large := []byte(strings.Repeat("x", 2<<20))
	errs := c.Publish(t.Context(), []kafka.Record{
		{Topic: kafka.TopicAlerts, Key: "a", Value: large}, {Topic: kafka.TopicAlerts, Key: "b", Value: []byte("small")},
	})
	if !errors.Is(errs[0], kafka.ErrRefused) || errs[1] != nil {
		t.Fatalf("errors %v", errs)
	}
}

func TestAnAbsentBrokerMakesPublishGiveUpInItsTime(t *testing.T) {
	t.Parallel()
	c := open(t, kafka.Options{Brokers: []string{"127.0.0.1:1"}, Timeout: time.Second})
	errs := c.Publish(t.Context(), []kafka.Record{{Topic: kafka.TopicAlerts, Key: "a", Value: []byte("1")}})
	if errs[0] == nil || errors.Is(errs[0], kafka.ErrRefused) {
		t.Fatalf("error %v", errs[0])
	}
	if err := c.Ping(t.Context()); err == nil {
		t.Error("somebody answered")
	}
}

func TestMissingTopicsAreMadeAsTheTableSays(t *testing.T) {
	t.Parallel()
	cluster := broker(t)
	c := open(t, kafka.Options{Brokers: cluster.ListenAddrs(), JSON: true})
	for range 2 { // the second time all are there
		if err := c.EnsureTopics(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, topic := range kafka.Topics(true) {
		info := cluster.TopicInfo(topic.Name)
		if info == nil || len(cluster.PartitionInfos(topic.Name)) != int(topic.Partitions) {
			t.Errorf("topic %s: %+v", topic.Name, info)
			continue
		}
		if p := info.Configs["cleanup.policy"]; p == nil || strings.Contains(*p, "compact") != topic.Compacted {
			t.Errorf("topic %s: policy %v", topic.Name, p)
		}
	}
	if cluster.TopicInfo("task.events.json") == nil || cluster.TopicInfo("robot.status.json") != nil {
		t.Error("mirrors stand beside facts alone")
	}
}

func TestBrokersThatAskWhoItIs(t *testing.T) {
	t.Parallel()
	cert, ca := certificate(t)
	cluster := broker(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "starling", "right"), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}))
	o := kafka.Options{Brokers: cluster.ListenAddrs(), TLS: true, CAFile: ca, User: "starling", Password: "right"}
	c := open(t, o)
	if err := c.EnsureTopics(t.Context()); err != nil {
		t.Fatal(err)
	}
	if errs := c.Publish(t.Context(), []kafka.Record{{Topic: kafka.TopicAlerts, Key: "a", Value: []byte("1")}}); errs[0] != nil {
		t.Fatal(errs[0])
	}
	for name, change := range map[string]func(o *kafka.Options){
		"another password":  func(o *kafka.Options) { o.Password = "wrong" },
		"nobody":            func(o *kafka.Options) { o.User = "" },
		"other authorities": func(o *kafka.Options) { o.CAFile = "" },
		"no TLS":            func(o *kafka.Options) { o.TLS = false },
	} {
		bad := o
		change(&bad)
		if err := open(t, bad).Ping(t.Context()); err == nil {
			t.Errorf("with %s the brokers answer", name)
		}
	}
	o.CAFile = t.TempDir()
	if _, err := kafka.Open(t.Context(), o); err == nil {
		t.Error("authorities that cannot be read are no fault")
	}
}

// certificate is one of 127.0.0.1, signed by itself, and the file with its authority.
func certificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	from := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, from, from, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}
