//go:build integration

package stack_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"starling/deploy/stack"
)

func kafkaClient(t *testing.T, k *stack.Kafka, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(k.Brokers()...)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestKafkaKeepsWhatItAcknowledgedOverStopAndKill(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir := folder(t)
	o := stack.KafkaOptions{Dir: dir, Fast: true}
	k, err := stack.StartKafka(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Kill() })
	address, c := k.Brokers()[0], kafkaClient(t, k, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if _, err := kadm.NewClient(c).CreateTopic(ctx, 1, 1, nil, "kept"); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for name, end := range map[string]func() error{"Stop": k.Stop, "Kill": k.Kill} {
		for range 200 {
			if err := c.ProduceSync(ctx, &kgo.Record{Topic: "kept", Value: fmt.Append(nil, sent)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			sent++
		}
		if err := end(); err != nil || k.PID() != 0 {
			t.Fatalf("%s: %v, process %d", name, err, k.PID())
		}
		if err := k.StartAgain(ctx); err != nil {
			t.Fatal(err)
		}
		if k.Brokers()[0] != address {
			t.Errorf("after %s it is at %s, before at %s", name, k.Brokers()[0], address)
		}
		r := kafkaClient(t, k, kgo.ConsumeTopics("kept"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		for next := 0; next < sent; {
			got := r.PollFetches(ctx)
			if err := got.Err(); err != nil {
				t.Fatal(err)
			}
			got.EachRecord(func(x *kgo.Record) {
				if string(x.Value) != fmt.Sprint(next) {
					t.Errorf("after %s record %d is %q", name, next, x.Value)
				}
				next++
			})
		}
		r.Close()
	}
	if _, err := stack.StartKafka(ctx, o); err == nil {
		t.Error("a second Kafka started in one folder")
	}
	pid := k.PID()
	o.Adopt = true
	if again, err := stack.StartKafka(ctx, o); err != nil || again.PID() != pid || again.Brokers()[0] != address {
		t.Errorf("a running Kafka was not adopted: %v", err)
	}
	if err := k.Remove(); err != nil || k.PID() != 0 {
		t.Errorf("after Remove: %v, process %d", err, k.PID())
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("Remove left %s: %v", dir, err)
	}
}
