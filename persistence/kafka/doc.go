// Package kafka is what the house knows of Kafka: its topics, one way to connect, the producer of facts, and what reads
// them again. It knows no actors and no other store; roots connect it by small interfaces.
//
// Delivery: the producer is idempotent and waits for all in-sync replicas. Publish answers for each record: nil means that
// the brokers hold it; an error means that they refuse it (ErrRefused: this record, again and again) or that nobody knows
// (everything else: it may be there). A record that is sent again after such an answer may be there twice, with the same
// event_id; whoever reads drops by that.
//
// Size: a fact is some 300 to 700 bytes with its headers and 10 to 14 µs of processor on both sides together; at 5,000 a
// second 2 to 4 MB/s before compression. At most Options.Buffered records (65,536, some 40 MB) wait in the producer, whoever
// adds more waits.
package kafka
