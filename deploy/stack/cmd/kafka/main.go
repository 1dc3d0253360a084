// Command kafka runs a private Kafka broker for a test suite or a developer:
//
//	go run ./deploy/stack/cmd/kafka ensure|run [--port N] [DIR]
//
// ensure gets it from Maven Central where the cache does not hold it. run starts one, prints one line of JSON
// {"brokers","pid"} when it is ready, and ends it when standard input ends, on SIGTERM or on ^C. Without DIR
// its data go to a folder of their own that goes with it. Exit codes: 0 done, 1 failed, 2 wrong usage.
package main

import (
	"context"

	"starling/deploy/stack"
	"starling/deploy/stack/cmd/internal/oneserver"
)

func main() {
	oneserver.Main(oneserver.Command{
		Name:   "kafka",
		Ensure: stack.EnsureKafka,
		Start: func(ctx context.Context, o oneserver.Options) (oneserver.Server, map[string]any, error) {
			s, err := stack.StartKafka(ctx, stack.KafkaOptions{Dir: o.Dir, Port: o.Port, Guarded: o.Guarded, Log: o.Log})
			if err != nil {
				return nil, nil, err
			}
			return s, map[string]any{"brokers": s.Brokers(), "pid": s.PID()}, nil
		},
	})
}
