package stack

import (
	"bufio"
	"bytes"
	"context"
	_ "embed" // what to fetch, and how it logs
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// KafkaVersion is what kafka/pom.xml names.
	KafkaVersion = "4.3.1"

	kafkaLib       = "lib"
	kafkaFormatted = "formatted"
	// Of every private broker: a fixed one lets the formatted folder be made once.
	kafkaCluster = "4L6g3nShT-eMCtK--X86sw"
)

var (
	//go:embed kafka/pom.xml
	kafkaPOM []byte
	//go:embed kafka/jars.sha256
	kafkaSums []byte
	//go:embed kafka/log4j2.yaml
	kafkaLoggingYAML []byte
)

// kafkaDist is a Kafka in the cache: its programs and an empty data folder, formatted.
type kafkaDist struct {
	java string
	dir  string
}

func (d kafkaDist) classPath() string { return filepath.Join(d.dir, kafkaLib, "*") }

// findKafka returns Kafka as the cache holds it, and gets it first where it does not.
func findKafka(ctx context.Context, log *slog.Logger) (kafkaDist, error) {
	java, err := findJava(ctx)
	if err != nil {
		return kafkaDist{}, err
	}
	dir, err := cached(ctx, "kafka-"+KafkaVersion, slices.Concat(kafkaPOM, kafkaSums), func(ctx context.Context, fresh string) error {
		log.LogAttrs(ctx, slog.LevelInfo, "getting Kafka (once)", slog.String("version", KafkaVersion))
		return kafkaDist{java: java, dir: fresh}.get(ctx)
	})
	return kafkaDist{java: java, dir: dir}, err
}

func (d kafkaDist) get(ctx context.Context) error {
	maven, err := findMaven()
	if err != nil {
		return err
	}
	pom, lib := filepath.Join(d.dir, "pom.xml"), filepath.Join(d.dir, kafkaLib)
	if err := os.WriteFile(pom, kafkaPOM, 0o600); err != nil {
		return fmt.Errorf("get Kafka: %w", err)
	}
	fetch := exec.CommandContext(ctx, maven, "-q", "-B", "-ntp", "-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+lib)
	if err := said(fetch); err != nil {
		return fmt.Errorf("get Kafka %s from Maven Central: %w", KafkaVersion, err)
	}
	if err := checkJars(lib); err != nil {
		return err
	}
	return d.format(ctx)
}

// checkJars wants each file of jars.sha256 as it says, and no other.
func checkJars(lib string) error {
	known := map[string]bool{}
	for s := bufio.NewScanner(bytes.NewReader(kafkaSums)); s.Scan(); {
		sum, name, _ := strings.Cut(s.Text(), "  ")
		if err := checkSum(filepath.Join(lib, name), sum); err != nil {
			return err
		}
		known[name] = true
	}
	all, err := os.ReadDir(lib)
	if err != nil {
		return fmt.Errorf("check Kafka: %w", err)
	}
	for _, f := range all {
		if !known[f.Name()] {
			return fmt.Errorf("check Kafka: Maven brought %s, which is not in jars.sha256", f.Name())
		}
	}
	return nil
}

// format makes an empty data folder once: it takes a Java of its own, a copy does not.
func (d kafkaDist) format(ctx context.Context) error {
	conf, data := filepath.Join(d.dir, kafkaConf), filepath.Join(d.dir, kafkaFormatted)
	k := &Kafka{daemon: &daemon{base: d.dir}, port: lowestPort, controller: lowestPort + 1, o: KafkaOptions{Settings: map[string]string{"log.dirs": data}}}
	if err := os.WriteFile(conf, []byte(k.settings()), 0o600); err != nil {
		return fmt.Errorf("format Kafka's data folder: %w", err)
	}
	if err := said(exec.CommandContext(ctx, d.java, "-XX:-UsePerfData", "-cp", d.classPath(), "kafka.tools.StorageTool", "format", "-t", kafkaCluster, "-c", conf)); err != nil {
		return fmt.Errorf("format Kafka's data folder: %w", err)
	}
	if _, err := os.Stat(filepath.Join(data, "meta.properties")); err != nil {
		return fmt.Errorf("format Kafka's data folder: %w", errors.Join(errors.New("it is empty"), err))
	}
	return nil
}

// EnsureKafka makes Kafka ready to start: it installs Java and Maven where they are missing and the caller is root on a
// system with apt-get, and gets Kafka from Maven Central, once. Else what is missing is ErrNoJava with what to install.
func EnsureKafka(ctx context.Context, w io.Writer) error {
	log := slog.New(slog.NewTextHandler(w, nil))
	return withJava(ctx, w, func() error {
		_, err := findKafka(ctx, log)
		return err
	})
}
