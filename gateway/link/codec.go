package link

import (
	"fmt"

	"google.golang.org/grpc/mem"

	linkv1 "starling/proto/gen/starling/link/v1"
)

// Codec is protobuf without reflection for messages that have vtproto code. It is the codec of the whole link,
// server and client.
type Codec struct{}

type vtMessage interface {
	SizeVT() int
	MarshalToSizedBufferVT([]byte) (int, error)
	UnmarshalVT([]byte) error
}

// inbound takes one frame from robots. What is wrong with its bytes is the frame's fault and not the codec's error: on
// such an error grpc ends the stream itself, with a code that says nothing to the sender.
type inbound struct {
	m     *linkv1.Uplink
	fault error
}

// Name is the content subtype: plain protobuf on the wire.
func (Codec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (Codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(vtMessage)
	if !ok {
		return nil, fmt.Errorf("encode %T: not a message of the link", v)
	}
	pool := mem.DefaultBufferPool()
	buf := pool.Get(m.SizeVT())
	if _, err := m.MarshalToSizedBufferVT(*buf); err != nil {
		pool.Put(buf)
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return mem.BufferSlice{mem.NewBuffer(buf, pool)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (c Codec) Unmarshal(data mem.BufferSlice, v any) error {
	if in, ok := v.(*inbound); ok {
		if data.Len() > maxFrame {
			in.fault = bad("frame", fmt.Sprintf("want at most %d bytes", maxFrame))
		} else if err := c.Unmarshal(data, in.m); err != nil {
			in.fault = bad("frame", "cannot be decoded")
		}
		return nil
	}
	m, ok := v.(vtMessage)
	if !ok {
		return fmt.Errorf("decode %T: not a message of the link", v)
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	if err := m.UnmarshalVT(buf.ReadOnlyData()); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	return nil
}
