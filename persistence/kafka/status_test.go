package kafka_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/persistence/kafka"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

var measuredAt = time.Date(2026, 3, 1, 12, 0, 0, 5e6, time.UTC)

func measured(i int) fact.Status {
	return fact.Status{
		Shard: fleet.Shard{Tenant: "11111111-1111-4111-8111-111111111111", Warehouse: "22222222-2222-4222-8222-222222222222"},
		Robot: fleet.RobotID(fmt.Sprintf("33333333-3333-4333-8333-%012d", i%1000)), Boot: "b", Seq: uint64(i), At: measuredAt, ReceivedAt: measuredAt.Add(time.Millisecond),
		Map: "44444444-4444-4444-8444-444444444444", MapVersion: 3, Vertex: 7, Zone: "55555555-5555-4555-8555-555555555555", Pose: fleet.Pose{X: 1, Y: 2, Theta: 3},
		VelocityMPS: 1.5, Battery: .5, State: fleet.Moving, Task: "66666666-6666-4666-8666-666666666666", SamplingHz: 1, Pace: robot.PaceMoving, Located: true,
	}
}

func statuses(t testing.TB, o kafka.Options) *kafka.StatusProducer {
	t.Helper()
	p, err := kafka.OpenStatuses(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestStatusesArriveInOrderAndWhole(t *testing.T) {
	t.Parallel()
	o := kafka.Options{Brokers: broker(t).ListenAddrs()}
	open(t, o) // makes the topics
	p := statuses(t, o)
	batch := make([]fact.Status, 3000)
	for i := range batch {
		batch[i] = measured(i)
	}
	batch[5].Errors = []fleet.RobotError{{Code: "E", Level: fleet.LevelFatal, Message: "no"}}
	batch[6].Vertex, batch[6].Located = fleet.NoVertex, false
	waitForTopics(t, o)
	p.WriteStatuses(t.Context(), batch[:1500])
	p.WriteStatuses(t.Context(), batch[1500:])
	last, ids := map[string]uint64{}, map[string]bool{}
	for _, r := range read(t, o, kafka.TopicRobotStatus, len(batch)) {
		var e eventsv1.Envelope
		if err := e.UnmarshalVT(r.Value); err != nil {
			t.Fatal(err)
		}
		s, want := e.GetRobotStatus(), measured(int(e.GetRobotStatus().GetSeq()))
		if string(r.Key) != string(want.Robot) || e.AggregateId != string(want.Robot) || e.TenantId != string(want.Shard.Tenant) || e.WarehouseId != string(want.Shard.Warehouse) ||
			e.Type != "robot.status" || !e.OccurredAt.AsTime().Equal(measuredAt) || !s.ReceivedAt.AsTime().Equal(want.ReceivedAt) || len(e.EventId) != 36 || ids[e.EventId] {
			t.Fatalf("%v", &e)
		}
		heads := map[string]string{}
		for _, h := range r.Headers {
			heads[h.Key] = string(h.Value)
		}
		if !maps.Equal(heads, map[string]string{
			"ce_specversion": "1.0", "ce_id": e.EventId, "ce_type": "starling.robot.status", "ce_subject": "robot/" + string(want.Robot),
			"ce_source": "/tenants/" + string(want.Shard.Tenant) + "/warehouses/" + string(want.Shard.Warehouse), "ce_time": "2026-03-01T12:00:00.005000Z",
			"content-type": "application/protobuf",
		}) {
			t.Fatalf("headers %v", heads)
		}
		ids[e.EventId] = true
		if n := last[string(r.Key)]; s.Seq < n {
			t.Fatalf("robot %s: %d after %d", r.Key, s.Seq, n)
		}
		last[string(r.Key)] = s.Seq
		switch s.Seq {
		case 5:
			if len(s.Errors) != 1 || s.Errors[0].Level != "FATAL" {
				t.Fatalf("%v", s)
			}
		case 6:
			if s.Vertex != nil || s.X != nil {
				t.Fatalf("%v", s)
			}
		default:
			if len(s.Errors) != 0 || s.GetVertex() != 7 || s.GetX() != 1 || s.GetTheta() != 3 || s.State != eventsv1.RobotStatus_STATE_MOVING || s.TaskId != string(want.Task) {
				t.Fatalf("%v", s)
			}
		}
	}
	again := measured(9)
	p.WriteStatuses(t.Context(), []fact.Status{again})
	var e eventsv1.Envelope
	all := read(t, o, kafka.TopicRobotStatus, len(batch)+1)
	for _, r := range all {
		if err := e.UnmarshalVT(r.Value); err != nil {
			t.Fatal(err)
		}
		delete(ids, e.EventId)
	}
	if len(ids) != 0 {
		t.Fatalf("the same status twice has two ids: %d left", len(ids))
	}
}

// waitForTopics waits until the brokers know where statuses go.
func waitForTopics(t *testing.T, o kafka.Options) {
	t.Helper()
	probe := statuses(t, o)
	for end := time.Now().Add(20 * time.Second); ; {
		if err := probe.Ready(t.Context()); err == nil {
			return
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// While the brokers are away nobody waits: what finds no room is counted, and so is what grows too old.
func TestStatusesAreDroppedAndCountedWhileKafkaIsAway(t *testing.T) {
	t.Parallel()
	b := broker(t)
	o := kafka.Options{Brokers: b.ListenAddrs(), Buffered: 100}
	b.Close()
	reg := prometheus.NewPedanticRegistry()
	o.Registerer = reg
	p := statuses(t, o)
	batch := make([]fact.Status, 1000)
	for i := range batch {
		batch[i] = measured(i)
	}
	began := time.Now()
	p.WriteStatuses(t.Context(), batch)
	if took := time.Since(began); took > 5*time.Second {
		t.Fatalf("it took %v", took)
	}
	dropped := func() (n float64) {
		all, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			if f.GetName() == "starling_kafka_dropped_total" {
				for _, m := range f.Metric {
					n += m.GetCounter().GetValue()
				}
			}
		}
		return n
	}
	for end := time.Now().Add(20 * time.Second); dropped() < 900; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%v dropped, want 900", dropped())
		}
	}
}

func BenchmarkStatuses(b *testing.B) {
	batch := make([]fact.Status, 5000)
	for i := range batch {
		batch[i] = measured(i)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n += len(kafka.EncodeStatuses(batch))
	}
	b.SetBytes(int64(n / max(1, b.N)))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(batch)), "ns/status")
}
