package kafka

import "time"

// The topics, without their prefix. proto/starling/events/v1 says what is in them, docs/events.md why they are as they are.
const (
	TopicRobotStatus = "robot.status"           // key: robot; straight from telemetry, may lose some
	TopicTaskEvents  = "task.events"            // key: task
	TopicAlerts      = "alerts"                 // key: alert
	TopicDecisions   = "scheduler.decisions"    // key: warehouse
	TopicCongestion  = "congestion.metrics"     // key: zone, else warehouse
	TopicPredictions = "congestion.predictions" // key: zone
	TopicRobotEvents = "robot.events"           // key: robot
	TopicMapEvents   = "map.events"             // key: warehouse
	deadSuffix       = ".dlq"
	mirrorSuffix     = ".json"
	day              = 24 * time.Hour
	maxRecordBytes   = 1 << 20 // of a batch; topics are created to take it
)

// Topic is how a topic is created.
type Topic struct {
	Name       string
	Partitions int32
	Retention  time.Duration
	// Compacted: of each key at least the newest record stays for as long as any.
	Compacted bool
	// Facts: through the outbox, none is lost, and a JSON mirror may stand beside it.
	Facts bool
}

// DeadLetters is the topic of what a topic's readers or the outbox could not digest.
func DeadLetters(topic string) string { return topic + deadSuffix }

// Mirror is the topic with the same facts in JSON.
func Mirror(topic string) string { return topic + mirrorSuffix }

// Topics are all there are; json adds the mirrors. Keys decide the partition (murmur2, as any Kafka client does), so what
// shares a key keeps its order; the number of partitions of a topic never changes, or keys would move.
//
// Twelve partitions where a hundred thousand robots or their tasks write: twelve readers can share the work, and twelve has
// many divisors. Six where warehouses or zones are the keys, three where people are the readers. Events are never compacted:
// a history without its middle is wrong. Predictions are: only the newest of a zone is of use.
func Topics(json bool) []Topic {
	base := []Topic{
		{Name: TopicRobotStatus, Partitions: 12, Retention: day},
		{Name: TopicTaskEvents, Partitions: 12, Retention: 7 * day, Facts: true},
		{Name: TopicAlerts, Partitions: 3, Retention: 30 * day, Facts: true},
		{Name: TopicDecisions, Partitions: 6, Retention: 7 * day, Facts: true},
		{Name: TopicCongestion, Partitions: 6, Retention: 3 * day},
		{Name: TopicPredictions, Partitions: 6, Retention: 3 * day, Compacted: true},
		{Name: TopicRobotEvents, Partitions: 12, Retention: 7 * day, Facts: true},
		{Name: TopicMapEvents, Partitions: 3, Retention: 30 * day, Facts: true},
	}
	all := make([]Topic, 0, 3*len(base))
	for _, t := range base {
		all = append(all, t, Topic{Name: DeadLetters(t.Name), Partitions: 3, Retention: 30 * day})
		if json && t.Facts {
			all = append(all, Topic{Name: Mirror(t.Name), Partitions: t.Partitions, Retention: t.Retention})
		}
	}
	return all
}
