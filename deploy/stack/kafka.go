package stack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	kafkaConf     = "server.properties"
	kafkaLogging  = "log4j2.yaml"
	kafkaData     = "data"
	kafkaTmp      = "tmp"
	kafkaHeap     = "512m"
	kafkaTimeout  = 2 * time.Minute
	kafkaPatience = 30 * time.Second
	kafkaAnswer   = 10 * time.Second
)

// KafkaOptions says where and how a Kafka broker runs.
type KafkaOptions struct {
	// Dir is the folder that it lives in, made if missing.
	Dir string
	// Port on 127.0.0.1; 0 = the one it had in Dir before, else any free one.
	Port int
	// Guarded: it ends with the process that started it, however that ends, and its folder with it. Else it outlives that
	// process until Stop or Kill.
	Guarded bool
	// Adopt: one that runs in Dir already is taken as it is. Else that is an error.
	Adopt bool
	// Fast starts with fewer CPU-seconds and a lower peak (no second compiler): for tests.
	Fast bool
	// Heap is the largest heap, as the option -Xmx has it; "" = 512m.
	Heap string
	// Settings are further settings of the broker, by name; they win over those made here.
	Settings map[string]string
	// Log gets a line per step; nil = silence.
	Log *slog.Logger
}

// Kafka is a private Kafka broker: one node, KRaft, no password, on 127.0.0.1. It makes no topic by itself. What it
// acknowledged outlives Stop and Kill (not a fault of the machine: Kafka leaves writing to disk to the system).
// Size sketch: 300 to 700 MB of memory, 2 to 5 CPU-seconds to start.
type Kafka struct {
	*daemon

	dist       kafkaDist
	port       int
	controller int
	o          KafkaOptions
	log        *slog.Logger
}

// StartKafka starts a broker in o.Dir and returns when it takes requests. Errors: ErrNoJava, or what Kafka said.
func StartKafka(ctx context.Context, o KafkaOptions) (*Kafka, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	dist, err := findKafka(ctx, o.Log)
	if err != nil {
		return nil, err
	}
	d, err := newDaemon(o.Dir, o.Guarded, o.Adopt)
	if err != nil {
		return nil, err
	}
	k := &Kafka{daemon: d, dist: dist, o: o, log: o.Log}
	if err := k.orRemove(k.prepare(ctx)); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *Kafka) prepare(ctx context.Context) error {
	ports, err := k.keepPorts(ctx, k.o.Port, 2)
	if err != nil {
		return err
	}
	k.port, k.controller = ports[0], ports[1]
	if k.pid() != 0 {
		return k.untilReady(ctx)
	}
	if _, err := os.Stat(k.path(kafkaData)); err != nil { // a copy of what `format` made, renamed when it is whole
		fresh := k.path("data.new")
		if err := errors.Join(os.RemoveAll(fresh), os.CopyFS(fresh, os.DirFS(filepath.Join(k.dist.dir, kafkaFormatted))), os.Rename(fresh, k.path(kafkaData))); err != nil {
			return fmt.Errorf("make Kafka's data folder: %w", err)
		}
	}
	return k.StartAgain(ctx)
}

// StartAgain starts it after Stop or Kill: the same address and data.
func (k *Kafka) StartAgain(ctx context.Context) error {
	if pid := k.pid(); pid != 0 {
		return fmt.Errorf("start Kafka in %s: it runs already as process %d", k.base, pid)
	}
	if err := errors.Join(
		os.RemoveAll(k.path(kafkaTmp)), os.Mkdir(k.path(kafkaTmp), privateFolder), // libraries that Java unpacks at each start
		os.WriteFile(k.path(kafkaConf), []byte(k.settings()), 0o600),
		os.WriteFile(k.path(kafkaLogging), kafkaLoggingYAML, 0o600),
	); err != nil {
		return fmt.Errorf("write the settings of Kafka: %w", err)
	}
	heap := k.o.Heap
	if heap == "" {
		heap = kafkaHeap
	}
	argv := []string{k.dist.java, "-Xms64m", "-Xmx" + heap, "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError", "-Djava.io.tmpdir=" + k.path(kafkaTmp)}
	if k.o.Fast {
		argv = append(argv, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
	} else {
		argv = append(argv, "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20")
	}
	argv = append(argv, "-Dlog4j2.configurationFile="+k.path(kafkaLogging), "-cp", k.dist.classPath(), "kafka.Kafka", k.path(kafkaConf))
	if err := k.start(argv, nil); err != nil {
		return err
	}
	if err := k.untilReady(ctx); err != nil {
		return errors.Join(err, k.Kill())
	}
	k.log.LogAttrs(ctx, slog.LevelInfo, "kafka runs", slog.Int("port", k.port), slog.String("dir", k.base))
	return nil
}

func (k *Kafka) untilReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, kafkaTimeout)
	defer cancel()
	return k.await(ctx, k.ready)
}

func (k *Kafka) settings() string {
	set := map[string]string{
		"process.roles":                        "broker,controller",
		"node.id":                              "1",
		"controller.quorum.voters":             "1@" + loopback(k.controller),
		"listeners":                            "PLAINTEXT://" + loopback(k.port) + ",CONTROLLER://" + loopback(k.controller),
		"advertised.listeners":                 "PLAINTEXT://" + loopback(k.port),
		"controller.listener.names":            "CONTROLLER",
		"inter.broker.listener.name":           "PLAINTEXT",
		"listener.security.protocol.map":       "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
		"log.dirs":                             k.path(kafkaData),
		"auto.create.topics.enable":            "false",
		"group.initial.rebalance.delay.ms":     "0",
		"log.retention.check.interval.ms":      "30000",
		"log.cleaner.dedupe.buffer.size":       "8388608", // of 128 MB
		"offsets.topic.num.partitions":         "8",
		"transaction.state.log.num.partitions": "4",
		// After kill -9 the controller takes the broker for alive for so long, and refuses the new one: 9 s by default.
		"broker.session.timeout.ms":    "4000",
		"broker.heartbeat.interval.ms": "500",
	}
	for _, name := range []string{ // one broker
		"offsets.topic.replication.factor", "transaction.state.log.replication.factor", "transaction.state.log.min.isr",
		"share.coordinator.state.topic.replication.factor", "share.coordinator.state.topic.min.isr",
	} {
		set[name] = "1"
	}
	maps.Copy(set, k.o.Settings)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(set)) {
		fmt.Fprintf(&b, "%s=%s\n", name, set[name])
	}
	return b.String()
}

// ready asks for the list of brokers: it is empty until the controller lets ours work, later than its port opens.
func (k *Kafka) ready(ctx context.Context) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", loopback(k.port))
	if err != nil {
		return fmt.Errorf("reach Kafka: %w", err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(kafkaAnswer))
	// Length, then key 3 (Metadata), version 1, correlation 1, no client name, no topics: Kafka's guide to its protocol.
	request := []byte{0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0}
	if _, err := c.Write(request); err != nil {
		return fmt.Errorf("ask Kafka: %w", err)
	}
	head := make([]byte, 12) // length, correlation, number of brokers
	if _, err := io.ReadFull(c, head); err != nil {
		return fmt.Errorf("ask Kafka: %w", err)
	}
	if binary.BigEndian.Uint32(head[8:]) == 0 {
		return errors.New("ask Kafka: the broker is not registered yet")
	}
	return nil
}

// Brokers are its addresses, as a client wants them to begin with: one, 127.0.0.1:port.
func (k *Kafka) Brokers() []string { return []string{loopback(k.port)} }

// Port is that of Brokers.
func (k *Kafka) Port() int { return k.port }

// PID is the number of its process, 0 = it does not run.
func (k *Kafka) PID() int { return k.pid() }

// Base is the folder that holds all of it.
func (k *Kafka) Base() string { return k.base }

// Stop ends it in order. Nothing running is no error.
func (k *Kafka) Stop() error { return k.end(syscall.SIGTERM, kafkaPatience) }

// Kill ends it as a crash does.
func (k *Kafka) Kill() error { return k.end(syscall.SIGKILL, killPatience) }

// Remove ends it as a crash does and removes its folder.
func (k *Kafka) Remove() error { return k.remove() }
