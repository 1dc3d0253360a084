// Command redis runs a private Redis for a test suite or a developer:
//
//	go run ./deploy/stack/cmd/redis ensure|run [--port N] [DIR]
//
// ensure installs it where it is missing. run starts one, prints one line of JSON
// {"url","pid"} when it is ready, and ends it when standard input ends, on SIGTERM or on ^C. Without DIR
// its data go to a folder of their own that goes with it. Exit codes: 0 done, 1 failed, 2 wrong usage.
package main

import (
	"context"

	"starling/deploy/stack"
	"starling/deploy/stack/cmd/internal/oneserver"
)

func main() {
	oneserver.Main(oneserver.Command{
		Name:   "redis",
		Ensure: stack.EnsureRedis,
		Start: func(ctx context.Context, o oneserver.Options) (oneserver.Server, map[string]any, error) {
			s, err := stack.StartRedis(ctx, stack.RedisOptions{Dir: o.Dir, Port: o.Port, Guarded: o.Guarded, Log: o.Log})
			if err != nil {
				return nil, nil, err
			}
			return s, map[string]any{"url": s.URL(), "pid": s.PID()}, nil
		},
	})
}
