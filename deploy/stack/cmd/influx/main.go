// Command influx runs a private InfluxDB for a test suite or a developer:
//
//	go run ./deploy/stack/cmd/influx ensure|run [--port N] [DIR]
//
// ensure builds it where the cache does not hold it, once per machine, for minutes. run starts one, prints one line of JSON
// {"url","org","bucket","token","pid"} when it is ready, and ends it when standard input ends, on SIGTERM or on ^C. Without DIR
// its data go to a folder of their own that goes with it. Exit codes: 0 done, 1 failed, 2 wrong usage.
package main

import (
	"context"

	"starling/deploy/stack"
	"starling/deploy/stack/cmd/internal/oneserver"
)

func main() {
	oneserver.Main(oneserver.Command{
		Name:   "influx",
		Ensure: stack.EnsureInflux,
		Start: func(ctx context.Context, o oneserver.Options) (oneserver.Server, map[string]any, error) {
			s, err := stack.StartInflux(ctx, stack.InfluxOptions{Dir: o.Dir, Port: o.Port, Guarded: o.Guarded, Log: o.Log})
			if err != nil {
				return nil, nil, err
			}
			return s, map[string]any{"url": s.URL(), "org": s.Org(), "bucket": s.Bucket(), "token": s.Token(), "pid": s.PID()}, nil
		},
	})
}
