package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Header is a record's header.
type Header struct {
	Key   string
	Value []byte
}

// Record is one message. TenantID and At are for people and tools: a header and the record's time.
type Record struct {
	Topic    string // without prefix
	Key      string
	Value    []byte
	Headers  []Header
	TenantID string    // header tenant_id; "" = none
	At       time.Time // zero = now
}

// ErrRefused: the brokers will never take this record (too large, malformed); others may pass.
var ErrRefused = errors.New("record refused")

// Client is the producer of facts. It is safe for concurrent use.
type Client struct {
	o       Options
	log     *slog.Logger
	kgo     *kgo.Client
	metrics *metrics
	tried   chan struct{} // closed when the topics have been looked for once, with whatever success
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// Open prepares the producer and, in the background, looks for the topics and makes those that are missing, again and again
// until it has seen them all. It does not wait for the brokers. Errors: options, metrics.
func Open(ctx context.Context, o Options) (*Client, error) {
	o.Timeout, o.Linger = cmp.Or(o.Timeout, 10*time.Second), cmp.Or(o.Linger, 2*time.Millisecond)
	o.Buffered = cmp.Or(o.Buffered, 1<<16)
	c := &Client{o: o, log: o.Log, metrics: newMetrics(), tried: make(chan struct{})}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if c.kgo, err = NewClient(o, producing(&o)...); err != nil {
		return nil, err
	}
	if o.Registerer != nil {
		if err := c.metrics.register(o.Registerer, c.kgo); err != nil {
			c.kgo.Close()
			return nil, fmt.Errorf("register the metrics of kafka: %w", err)
		}
	}
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	c.done.Go(func() { c.keepTopics(ctx) })
	return c, nil
}

// producing are the options of a producer that loses nothing. A record is given up after the timeout even where a broker may
// have it: whoever published it decides, and consumers drop doubles. The library's own bound (RecordDeliveryTimeout) is of no
// use: it counts from the record's time, and a fact that has waited in the outbox is old.
func producing(o *Options) []kgo.Opt {
	return []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(o.Linger),
		kgo.ProducerBatchMaxBytes(maxRecordBytes - 4096),
		kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()),
		kgo.ProduceRequestTimeout(5 * time.Second),
		kgo.AllowIdempotentProduceCancellation(),
		kgo.MaxBufferedRecords(o.Buffered),
		kgo.UnknownTopicRetries(2),
	}
}

// Close waits a moment for what is under way and leaves.
func (c *Client) Close() {
	c.stop()
	c.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.kgo.Flush(ctx) // what is left is still in the outbox
	c.kgo.Close()
}

// Ping asks the brokers for a sign of life.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := c.kgo.Ping(ctx); err != nil {
		return fmt.Errorf("ping kafka: %w", err)
	}
	return nil
}

// Publish sends the records and returns when each is kept or given up: error i is record i's. Records of one key leave in
// the order of the slice. It gives up after Options.Timeout, or with ctx.
func (c *Client) Publish(ctx context.Context, records []Record) []error {
	errs := make([]error, len(records))
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	select {
	case <-c.tried: // or the first records would be refused by brokers that do not know their topics yet
	case <-ctx.Done():
	}
	began := time.Now()
	var wait sync.WaitGroup
	wait.Add(len(records))
	for i := range records {
		c.kgo.Produce(ctx, c.record(&records[i]), func(_ *kgo.Record, err error) {
			errs[i] = classify(err)
			wait.Done()
		})
	}
	wait.Wait()
	c.metrics.publish.Observe(time.Since(began).Seconds())
	for i, err := range errs {
		c.metrics.records.WithLabelValues(records[i].Topic, outcome(err)).Inc()
	}
	return errs
}

func (c *Client) record(r *Record) *kgo.Record {
	headers := make([]kgo.RecordHeader, 0, len(r.Headers)+1)
	for _, h := range r.Headers {
		headers = append(headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	if r.TenantID != "" {
		headers = append(headers, kgo.RecordHeader{Key: "tenant_id", Value: []byte(r.TenantID)})
	}
	return &kgo.Record{Topic: c.o.Name(r.Topic), Key: []byte(r.Key), Value: r.Value, Headers: headers, Timestamp: r.At}
}

// classify tells what a broker says of the record from what it says of itself.
func classify(err error) error {
	for _, e := range []error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	return err
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "kept"
	case errors.Is(err, ErrRefused):
		return "refused"
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
		return "no_topic"
	default:
		return "given_up"
	}
}

type metrics struct {
	records *prometheus.CounterVec
	publish prometheus.Histogram
	topics  *prometheus.GaugeVec
}

func newMetrics() *metrics {
	return &metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_kafka_records_total", Help: "Records by topic and outcome: kept by the brokers, refused, no_topic, given_up (nobody knows).",
		}, []string{"topic", "outcome"}),
		publish: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "starling_kafka_publish_seconds", Help: "From handing a batch to the producer to the brokers' answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
		topics: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "starling_kafka_topics", Help: "Topics as found at the start: ok, or other (settings differ from what this version would have created).",
		}, []string{"state"}),
	}
}

func (m *metrics) register(r prometheus.Registerer, c *kgo.Client) error {
	buffered := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "starling_kafka_buffered_records", Help: "Records that wait in the producer.",
	}, func() float64 { return float64(c.BufferedProduceRecords()) })
	for _, x := range []prometheus.Collector{m.records, m.publish, m.topics, buffered} {
		if err := r.Register(x); err != nil {
			return err
		}
	}
	return nil
}
