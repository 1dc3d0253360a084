package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kfake"
)

// embeddedTick is how often the embedded Redis lets its keys grow old: it never does that by itself.
const embeddedTick = time.Second

// embedded are the servers that `starling dev` runs in its own process where the environment names none: a Kafka that
// keeps its topics in the data folder, and a Redis that forgets all with the process (what it holds is made again).
// They speak the real protocols on loopback, and are no measure of the real ones' speed.
type embedded struct {
	kafka *kfake.Cluster
	redis *miniredis.Miniredis
	ended chan struct{}
	ticks sync.WaitGroup
}

// startEmbedded starts what getenv names no server for and says what to put into the configuration. What it returns
// must be stopped, also with an error.
func startEmbedded(ctx context.Context, dir string, getenv func(string) string) (*embedded, map[string]string, error) {
	e, settings := &embedded{ended: make(chan struct{})}, map[string]string{}
	if getenv("KAFKA_BROKERS") == "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return e, nil, fmt.Errorf("make the folder of the embedded Kafka: %w", err)
		}
		var err error
		e.kafka, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(filepath.Join(dir, "kafka")), kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			return new(net.ListenConfig).Listen(ctx, network, "127.0.0.1:0") // it would listen on all addresses
		}))
		if err != nil {
			return e, nil, fmt.Errorf("start the embedded Kafka: %w", err)
		}
		settings["KAFKA_BROKERS"] = e.kafka.ListenAddrs()[0]
	}
	if getenv("REDIS_URL") == "" && getenv("REDIS_URL"+fileSuffix) == "" {
		e.redis = miniredis.NewMiniRedis()
		password := rand.Text()
		e.redis.RequireAuth(password)
		if err := e.redis.StartAddr("127.0.0.1:0"); err != nil {
			e.redis = nil
			return e, nil, fmt.Errorf("start the embedded Redis: %w", err)
		}
		u := url.URL{Scheme: "redis", User: url.UserPassword("", password), Host: e.redis.Addr(), Path: "/0"}
		settings["REDIS_URL"] = u.String()
		e.ticks.Go(e.age)
	}
	return e, settings, nil
}

// age passes time on to the embedded Redis until it is stopped.
func (e *embedded) age() {
	tick := time.NewTicker(embeddedTick)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case now := <-tick.C:
			e.redis.FastForward(now.Sub(last))
			last = now
		case <-e.ended:
			return
		}
	}
}

func (e *embedded) stop() {
	close(e.ended)
	e.ticks.Wait()
	if e.redis != nil {
		e.redis.Close()
	}
	if e.kafka != nil {
		e.kafka.Close()
	}
}

// errNoServers says that --external was asked for without the servers' addresses.
var errNoServers = errors.New("--external takes its servers from the environment, and DATABASE_URL is not set (make stack-up; set -a; . .starling-stack/env)")
