package jobs

import (
	"context"
	"crypto/rand"
	"encoding/hex"

	"starling/engine/fleet"
)

type traceKey struct{}

// traceOf is the trace of the job under way: what it makes carries it on.
func traceOf(ctx context.Context) fleet.Trace {
	t, _ := ctx.Value(traceKey{}).(fleet.Trace)
	return t
}

// traced is a context with the trace of the job, or the beginning of one.
func traced(ctx context.Context, j *Job) context.Context {
	if j.Trace == "" {
		var b [24]byte
		_, _ = rand.Read(b[:]) // never fails
		j.Trace = fleet.Trace("00-" + hex.EncodeToString(b[:16]) + "-" + hex.EncodeToString(b[16:]) + "-01")
	}
	return context.WithValue(ctx, traceKey{}, j.Trace)
}

// traceID is the trace's own id, for the log.
func traceID(t fleet.Trace) string {
	if len(t) < 35 {
		return ""
	}
	return string(t[3:35])
}
