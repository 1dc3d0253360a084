package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// keepTopics sees to the topics once, and again until that has succeeded.
func (c *Client) keepTopics(ctx context.Context) {
	for n := 0; ; n++ {
		err := c.EnsureTopics(ctx)
		if n == 0 {
			close(c.tried)
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		if n == 0 {
			c.log.LogAttrs(ctx, slog.LevelWarn, "topics not seen yet", slog.String("event", "kafka.topics"), slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(time.Second<<min(n, 4), 10*time.Second)):
		}
	}
}

// EnsureTopics creates the topics that are missing and says, in the log and by a metric, where those that are there differ
// from what it would have created; it changes none. Errors: no answer.
func (c *Client) EnsureTopics(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	admin := kadm.NewClient(c.kgo)
	topics := Topics(c.o.JSON)
	names := make([]string, len(topics))
	for i, t := range topics {
		names[i] = c.o.Name(t.Name)
	}
	found, err := admin.ListTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	made := 0
	for i := range topics {
		t, name := &topics[i], names[i]
		if found.Has(name) && found[name].Err == nil {
			continue
		}
		_, err := admin.CreateTopic(ctx, t.Partitions, c.replicas(), t.configs(), name)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", name, err)
		}
		made++
	}
	other, err := c.compare(ctx, admin, topics, names, found)
	if err != nil {
		return err
	}
	c.metrics.topics.WithLabelValues("ok").Set(float64(len(topics) - other))
	c.metrics.topics.WithLabelValues("other").Set(float64(other))
	c.log.LogAttrs(ctx, slog.LevelInfo, "topics seen", slog.String("event", "kafka.topics"), slog.Int("made", made), slog.Int("topics", len(topics)))
	return nil
}

func (c *Client) replicas() int16 {
	if c.o.Replication == 0 {
		return -1 // as the brokers are told
	}
	return int16(c.o.Replication)
}

// configs are a topic's settings at its creation.
func (t *Topic) configs() map[string]*string {
	policy := "delete"
	if t.Compacted {
		policy = "compact,delete"
	}
	return map[string]*string{
		"cleanup.policy":         kadm.StringPtr(policy),
		"retention.ms":           kadm.StringPtr(strconv.FormatInt(t.Retention.Milliseconds(), 10)),
		"max.message.bytes":      kadm.StringPtr(strconv.Itoa(maxRecordBytes)),
		"message.timestamp.type": kadm.StringPtr("CreateTime"),
	}
}

// compare counts the topics that were there before and are not as they would have been created.
func (c *Client) compare(ctx context.Context, admin *kadm.Client, topics []Topic, names []string, found kadm.TopicDetails) (int, error) {
	configs, err := admin.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return 0, fmt.Errorf("read the settings of topics: %w", err)
	}
	other := 0
	for i := range topics {
		t, name := &topics[i], names[i]
		var differs []string
		if d := found[name]; d.Err == nil && len(d.Partitions) > 0 && len(d.Partitions) != int(t.Partitions) {
			differs = append(differs, fmt.Sprintf("%d partitions, not %d", len(d.Partitions), t.Partitions))
		}
		have, err := configs.On(name, nil)
		if err != nil || have.Err != nil {
			continue // made just now and not known everywhere yet
		}
		want := t.configs()
		for _, h := range have.Configs {
			if w := want[h.Key]; w != nil && h.Value != nil && *h.Value != *w {
				differs = append(differs, fmt.Sprintf("%s is %s, not %s", h.Key, *h.Value, *w))
			}
		}
		if len(differs) > 0 {
			other++
			c.log.LogAttrs(ctx, slog.LevelWarn, "topic differs", slog.String("event", "kafka.topic"), slog.String("topic", name),
				slog.String("how", strings.Join(differs, "; ")))
		}
	}
	return other, nil
}
