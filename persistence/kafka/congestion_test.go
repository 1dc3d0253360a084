package kafka_test

import (
	"errors"
	"reflect"
	"testing"

	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/kafka"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

// scored is a score none of whose figures is nought or another one's: a field that is forgotten on the way is noticed.
func scored(t *testing.T, of congestion.Of, id string) fact.Congestion {
	t.Helper()
	c := fact.Congestion{
		Shard: fleet.Shard{Tenant: "11111111-1111-4111-8111-111111111111", Warehouse: "22222222-2222-4222-8222-222222222222"},
		Map:   "44444444-4444-4444-8444-444444444444", MapVersion: 3,
	}
	v := reflect.ValueOf(&c.Score).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); {
		case f.CanInt():
			f.SetInt(int64(i + 1))
		case f.CanFloat():
			f.SetFloat(1 / float64(i+3)) // no finite binary fraction: all digits must come over
		case f.Kind() != reflect.Struct: // subject, time
			t.Fatalf("%s is a %v", v.Type().Field(i).Name, f.Kind())
		}
	}
	c.Subject, c.At = congestion.Subject{Of: of, ID: id}, measuredAt.Truncate(congestion.Bin).Add(congestion.Bin)
	return c
}

func TestScoresComeBackToTheLastDigit(t *testing.T) {
	t.Parallel()
	o := kafka.Options{Brokers: broker(t).ListenAddrs()}
	open(t, o) // makes the topics
	p := statuses(t, o)
	const warehouse = "22222222-2222-4222-8222-222222222222"
	all := []fact.Congestion{
		scored(t, congestion.OfZone, "55555555-5555-4555-8555-555555555555"), scored(t, congestion.OfLane, "66666666-6666-4666-8666-666666666666"),
		scored(t, congestion.OfWarehouse, warehouse),
	}
	waitForTopics(t, o)
	p.WriteCongestion(all)
	ids := map[string]bool{}
	for _, r := range read(t, o, kafka.TopicCongestion, len(all)) {
		got, err := kafka.Congestion(&kafka.Message{Value: r.Value})
		if err != nil {
			t.Fatal(err)
		}
		want, key := all[got.Of], warehouse
		if got.Of == congestion.OfZone {
			key = want.ID
		}
		if got != want || string(r.Key) != key {
			t.Errorf("%s came as\n%+v, want\n%+v", r.Key, got, want)
		}
		var e eventsv1.Envelope
		if err := e.UnmarshalVT(r.Value); err != nil {
			t.Fatal(err)
		}
		ids[e.GetEventId()] = true
	}
	if len(ids) != len(all) {
		t.Errorf("%d event ids of %d scores", len(ids), len(all))
	}
}

func TestWhatIsNoScoreIsSaidSo(t *testing.T) {
	t.Parallel()
	if _, err := kafka.Congestion(&kafka.Message{Value: kafka.EncodeStatuses([]fact.Status{measured(1)})}); !errors.Is(err, kafka.ErrNoCongestion) {
		t.Errorf("a status: %v", err)
	}
	if _, err := kafka.Congestion(&kafka.Message{Value: []byte{0xff}}); err == nil || errors.Is(err, kafka.ErrNoCongestion) {
		t.Errorf("rubbish: %v", err)
	}
}
