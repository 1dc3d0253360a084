//go:build integration

package stack_test

import (
	"os"
	"testing"

	"starling/deploy/stack"
)

func TestKafkaComesBackOnItsPortAfterStopAndKillAndLeavesNothing(t *testing.T) {
	dir := folder(t)
	o := stack.KafkaOptions{Dir: dir, Fast: true}
	k, err := stack.StartKafka(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Kill() })
	address := k.Brokers()[0]
	for name, end := range map[string]func() error{"Stop": k.Stop, "Kill": k.Kill} {
		if err := end(); err != nil || k.PID() != 0 {
			t.Fatalf("%s: %v, process %d", name, err, k.PID())
		}
		if err := k.StartAgain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if k.Brokers()[0] != address {
			t.Errorf("after %s it is at %s, before at %s", name, k.Brokers()[0], address)
		}
	}
	if _, err := stack.StartKafka(t.Context(), o); err == nil {
		t.Error("a second Kafka started in one folder")
	}
	if err := k.Remove(); err != nil || k.PID() != 0 {
		t.Errorf("after Remove: %v, process %d", err, k.PID())
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("Remove left %s: %v", dir, err)
	}
}
