package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func startParts(t *testing.T, dir string, env map[string]string) (*embedded, map[string]string) {
	t.Helper()
	e, settings, err := startEmbedded(t.Context(), dir, func(key string) string { return env[key] })
	if err != nil {
		e.stop()
		t.Fatal(err)
	}
	return e, settings
}

func TestTheEmbeddedKafkaKeepsItsTopicsFromOneStartToTheNext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	for round := range 3 {
		e, settings := startParts(t, dir, nil)
		at := settings["KAFKA_BROKERS"]
		if !strings.HasPrefix(at, "127.0.0.1:") {
			t.Errorf("it listens on %s", at)
		}
		c, err := kgo.NewClient(kgo.SeedBrokers(at), kgo.ConsumeTopics("kept"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			if _, err := kadm.NewClient(c).CreateTopic(ctx, 1, 1, nil, "kept"); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.ProduceSync(ctx, &kgo.Record{Topic: "kept", Value: fmt.Append(nil, round)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		for seen := 0; seen <= round; {
			got := c.PollFetches(ctx)
			if err := got.Err(); err != nil {
				t.Fatal(err)
			}
			got.EachRecord(func(r *kgo.Record) {
				if string(r.Value) != fmt.Sprint(seen) {
					t.Errorf("round %d: record %d is %q", round, seen, r.Value)
				}
				seen++
			})
		}
		c.Close()
		e.stop()
	}
}

func TestTheEmbeddedRedisAsksForItsPasswordAndLetsKeysGrowOld(t *testing.T) {
	t.Parallel()
	e, settings := startParts(t, t.TempDir(), map[string]string{"KAFKA_BROKERS": "elsewhere:9092"})
	defer e.stop()
	o, err := redis.ParseURL(settings["REDIS_URL"])
	if err != nil || !strings.HasPrefix(o.Addr, "127.0.0.1:") {
		t.Fatalf("%q: %v", settings["REDIS_URL"], err)
	}
	c := redis.NewClient(o)
	defer func() { _ = c.Close() }()
	if err := c.Set(t.Context(), "key", "value", time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); c.Exists(t.Context(), "key").Val() != 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a key of one second is still there")
		}
	}
	stranger := redis.NewClient(&redis.Options{Addr: o.Addr})
	defer func() { _ = stranger.Close() }()
	if err := stranger.Ping(t.Context()).Err(); err == nil {
		t.Error("it takes whoever comes")
	}
}

func TestServersThatTheEnvironmentNamesAreNotEmbedded(t *testing.T) {
	t.Parallel()
	for name, env := range map[string]map[string]string{
		"by address": {"KAFKA_BROKERS": "elsewhere:9092", "REDIS_URL": "redis://elsewhere:6379"},
		"by file":    {"KAFKA_BROKERS": "elsewhere:9092", "REDIS_URL_FILE": "/run/secrets/redis"},
	} {
		e, settings := startParts(t, t.TempDir(), env)
		if e.kafka != nil || e.redis != nil || len(settings) != 0 {
			t.Errorf("%s: started with %v", name, settings)
		}
		e.stop()
	}
}

func TestExternalServersAreNotClearedAndMustBeNamed(t *testing.T) {
	t.Setenv("DATABASE_URL", "")
	for _, args := range [][]string{{"--external", "--reset"}, {"--external", "--data", t.TempDir()}} {
		cmd := newDevCmd()
		cmd.SetArgs(args)
		cmd.SetOut(new(strings.Builder))
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		err := cmd.ExecuteContext(t.Context())
		if usage := (usageError{}); !errors.As(err, &usage) {
			t.Errorf("%v: %v, want a wrong usage", args, err)
		}
	}
}
