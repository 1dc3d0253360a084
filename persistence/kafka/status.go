package kafka

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/protobuf/types/known/timestamppb"

	"starling/engine/fact"
	"starling/engine/fleet"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

// StatusProducer sends measured statuses to robot.status, and scores of congestion to congestion.metrics, which may lose some: it waits for the leader alone, compresses,
// and gives up, counted, what finds no room or cannot be delivered in time. It has a client of its own, so that a flood of
// statuses never stands before a fact.
//
// Cost: about 3.3 us a status in the caller and the client together (BenchmarkStatusesToKafka); memory at most
// Options.Buffered records of about 1,000 bytes.
type StatusProducer struct {
	kgo   *kgo.Client
	topic string
	enc   statusEncoder
	sent  prometheus.Counter

	congestion string // the other topic
	scores     prometheus.Counter

	dropped *prometheus.CounterVec
	mu      sync.Mutex
}

// statusTimeout is how long a status is tried: who looks at robots wants the present.
const statusTimeout = 10 * time.Second

// OpenStatuses prepares the producer; it connects when it is first used. Errors: options.
func OpenStatuses(o Options) (*StatusProducer, error) {
	o.Linger, o.Buffered = cmp.Or(o.Linger, 20*time.Millisecond), cmp.Or(o.Buffered, 1<<16)
	c, err := NewClient(
		o,
		kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1),
		kgo.ProducerLinger(o.Linger), kgo.ProducerBatchMaxBytes(maxRecordBytes-4096),
		kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()),
		kgo.ProduceRequestTimeout(5*time.Second), kgo.RecordDeliveryTimeout(statusTimeout), kgo.MaxBufferedRecords(o.Buffered), kgo.UnknownTopicRetries(2),
	)
	if err != nil {
		return nil, err
	}
	p := &StatusProducer{
		kgo: c, topic: o.Name(TopicRobotStatus), congestion: o.Name(TopicCongestion),
		scores: prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_kafka_scores_total", Help: "Scores of congestion that the brokers have taken."}),
		sent:   prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_kafka_statuses_total", Help: "Measured statuses that the brokers have taken."}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_kafka_dropped_total", Help: "Measured statuses and scores given up: no room in the producer, or not delivered in time.",
		}, []string{"queue"}),
	}
	if o.Registerer != nil {
		for _, m := range []prometheus.Collector{p.sent, p.scores, p.dropped} {
			if err := o.Registerer.Register(m); err != nil {
				c.Close()
				return nil, fmt.Errorf("register the metrics of statuses: %w", err)
			}
		}
	}
	return p, nil
}

// WriteStatuses implements the sink of measured statuses. It does not wait for the brokers.
func (p *StatusProducer) WriteStatuses(_ context.Context, batch []fact.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	records := make([]kgo.Record, len(batch))
	values, now, heads := make([]byte, 0, len(batch)*420), time.Now(), newHeaders(len(batch))
	for i := range batch {
		began := len(values)
		values = p.enc.append(values, &batch[i])
		r := &records[i]
		r.Topic, r.Timestamp = p.topic, now // not the robot's: by this the client judges what is late
		r.Key, r.Value = []byte(batch[i].Robot), values[began:len(values):len(values)]
		r.Headers = heads.of(p.enc.envelope.EventId, &batch[i])
		p.kgo.TryProduce(context.Background(), r, p.settled)
	}
}

// settled counts what became of a record.
func (p *StatusProducer) settled(_ *kgo.Record, err error) {
	switch {
	case err == nil:
		p.sent.Inc()
	case errors.Is(err, kgo.ErrMaxBuffered):
		p.dropped.WithLabelValues("status_full").Inc()
	default:
		p.dropped.WithLabelValues("status_late").Inc()
	}
}

// Ready says whether the brokers answer and know the topic.
func (p *StatusProducer) Ready(ctx context.Context) error {
	req := kmsg.NewMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &p.topic
	req.Topics = append(req.Topics, topic)
	res, err := req.RequestWith(ctx, p.kgo)
	if err != nil {
		return fmt.Errorf("ask for topic %s: %w", p.topic, err)
	}
	if len(res.Topics) != 1 {
		return fmt.Errorf("ask for topic %s: no answer", p.topic)
	}
	if err := kerr.ErrorForCode(res.Topics[0].ErrorCode); err != nil {
		return fmt.Errorf("ask for topic %s: %w", p.topic, err)
	}
	return nil
}

// EncodeStatuses writes the envelopes one after the other, for measuring what that costs.
func EncodeStatuses(batch []fact.Status) []byte {
	var e statusEncoder
	var b []byte
	for i := range batch {
		b = e.append(b, &batch[i])
	}
	return b
}

// Close waits a moment for what is under way and leaves.
func (p *StatusProducer) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = p.kgo.Flush(ctx) // what is left was only measured
	p.kgo.Close()
}

// statusEncoder writes envelopes; it reuses what it writes with.
type statusEncoder struct {
	envelope     eventsv1.Envelope
	body         eventsv1.Envelope_RobotStatus
	status       eventsv1.RobotStatus
	at, received timestamppb.Timestamp
	vertex       uint32
	x, y, theta  float64
}

// append writes one status. Its event_id is made of robot, boot and seq: the same status twice has it twice.
func (e *statusEncoder) append(b []byte, s *fact.Status) []byte {
	st := &e.status
	st.Reset()
	st.BootId, st.Seq, st.MapId, st.MapVersion = s.Boot, s.Seq, string(s.Map), uint32(max(0, s.MapVersion))
	st.LaneId, st.ZoneId, st.GoalZoneId = string(s.Lane), string(s.Zone), string(s.GoalZone)
	st.VelocityMps, st.BatterySoc, st.SamplingHz, st.TaskId = s.VelocityMPS, s.Battery, s.SamplingHz, string(s.Task)
	st.State = eventsv1.RobotStatus_State(s.State) // the same numbers
	if s.WaitingFor != fleet.CauseNone {
		st.WaitingFor, st.WaitingOn = s.WaitingFor.String(), string(s.WaitingOn)
	}
	if s.Vertex >= 0 {
		e.vertex = uint32(s.Vertex)
		st.Vertex = &e.vertex
	}
	if s.Located {
		e.x, e.y, e.theta = s.Pose.X, s.Pose.Y, s.Pose.Theta
		st.X, st.Y, st.Theta = &e.x, &e.y, &e.theta
	}
	for _, x := range s.Errors {
		st.Errors = append(st.Errors, &eventsv1.RobotFault{Code: x.Code, Level: x.Level.String(), Message: x.Message})
	}
	stamp(&e.received, s.ReceivedAt)
	stamp(&e.at, s.At)
	st.ReceivedAt = &e.received
	v := &e.envelope
	v.EventId = eventID(s)
	v.TenantId, v.WarehouseId, v.AggregateType, v.AggregateId = string(s.Shard.Tenant), string(s.Shard.Warehouse), "robot", string(s.Robot)
	v.Type, v.OccurredAt = TopicRobotStatus, &e.at
	e.body.RobotStatus = st
	v.Body = &e.body
	n := v.SizeVT()
	begin := len(b)
	if cap(b)-begin < n {
		b = append(make([]byte, 0, 2*(begin+n)), b...)
	}
	b = b[:begin+n]
	if _, err := v.MarshalToSizedBufferVT(b[begin:]); err != nil {
		return b[:begin] // it cannot: it has just been measured
	}
	return b
}

func stamp(to *timestamppb.Timestamp, at time.Time) {
	to.Seconds, to.Nanos = at.Unix(), int32(at.Nanosecond())
}

// eventID is a UUID (version 8) of what makes a status itself.
func eventID(s *fact.Status) string {
	var key [160]byte
	b := append(key[:0], s.Shard.Tenant...)
	b = append(append(append(b, 0), s.Robot...), 0)
	b = append(append(b, s.Boot...), 0)
	b = binary.BigEndian.AppendUint64(b, s.Seq)
	return uuidOf(sha256.Sum256(b))
}

// uuidOf is a UUID of version 8.
func uuidOf(sum [sha256.Size]byte) string {
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	var id [36]byte
	hex.Encode(id[0:8], sum[0:4])
	hex.Encode(id[9:13], sum[4:6])
	hex.Encode(id[14:18], sum[6:8])
	hex.Encode(id[19:23], sum[8:10])
	hex.Encode(id[24:36], sum[10:16])
	id[8], id[13], id[18], id[23] = '-', '-', '-', '-'
	return string(id[:])
}
