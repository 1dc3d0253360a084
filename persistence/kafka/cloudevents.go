package kafka

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"starling/engine/fact"
)

// ceTime is how times stand in headers: microseconds, UTC.
const ceTime = "2006-01-02T15:04:05.000000Z07:00"

// headers writes the CloudEvents headers of statuses. Their values stand one after the other in a buffer of the batch.
type headers struct {
	all  []kgo.RecordHeader
	text []byte

	version, kind, content []byte // the same for all
}

// perStatus are a status's headers, and about how many bytes of their values are its own.
const (
	perStatus      = 7
	bytesPerStatus = 210
)

func newHeaders(statuses int) *headers {
	return &headers{
		all: make([]kgo.RecordHeader, 0, statuses*perStatus), text: make([]byte, 0, statuses*bytesPerStatus),
		version: []byte("1.0"), kind: []byte("starling." + TopicRobotStatus), content: []byte("application/protobuf"),
	}
}

// of are the headers of a status: what CloudEvents demands, whose it is, when, and how it is written. Each costs as much as
// all of the value's encoding, so that there are no more.
func (h *headers) of(id string, s *fact.Status) []kgo.RecordHeader {
	began := len(h.all)
	h.all = append(h.all,
		kgo.RecordHeader{Key: "ce_specversion", Value: h.version},
		kgo.RecordHeader{Key: "ce_id", Value: h.value(id)},
		kgo.RecordHeader{Key: "ce_type", Value: h.kind},
		kgo.RecordHeader{Key: "ce_source", Value: h.value("/tenants/", string(s.Shard.Tenant), "/warehouses/", string(s.Shard.Warehouse))},
		kgo.RecordHeader{Key: "ce_subject", Value: h.value("robot/", string(s.Robot))},
		kgo.RecordHeader{Key: "ce_time", Value: h.time(s)},
		kgo.RecordHeader{Key: "content-type", Value: h.content},
	)
	return h.all[began:len(h.all):len(h.all)]
}

func (h *headers) value(parts ...string) []byte {
	began := len(h.text)
	for _, p := range parts {
		h.text = append(h.text, p...)
	}
	return h.text[began:len(h.text):len(h.text)]
}

func (h *headers) time(s *fact.Status) []byte {
	began := len(h.text)
	h.text = s.At.UTC().AppendFormat(h.text, ceTime)
	return h.text[began:len(h.text):len(h.text)]
}
