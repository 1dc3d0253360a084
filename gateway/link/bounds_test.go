package link

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	linkv1 "starling/proto/gen/starling/link/v1"
)

func nan() float32 { return float32(math.NaN()) }

// spoilt is a status frame of handle 1 with one thing wrong.
func spoilt(f func(b *linkv1.StatusBatch)) *linkv1.Uplink {
	m := batch(1)
	f(m.GetStatuses())
	return m
}

func helloFrame(f func(h *linkv1.Hello, r *linkv1.RobotHello)) *linkv1.Uplink {
	r := &linkv1.RobotHello{RobotId: "r2", Resume: &linkv1.Resume{}, Pose: &linkv1.Pose{}}
	h := &linkv1.Hello{ProtocolVersion: 1, Robots: []*linkv1.RobotHello{r}}
	f(h, r)
	return &linkv1.Uplink{Frame: &linkv1.Uplink_Hello{Hello: h}}
}

func progressFrame(p ...*linkv1.Progress) *linkv1.Uplink {
	return &linkv1.Uplink{Frame: &linkv1.Uplink_Progress{Progress: &linkv1.ProgressBatch{Entries: p}}}
}

func commandAck(f func(a *linkv1.CommandAck)) *linkv1.Uplink {
	a := &linkv1.CommandAck{Handle: 1, CommandId: strings.Repeat("c", 36), Stage: linkv1.CommandStage_COMMAND_STAGE_DONE}
	f(a)
	return &linkv1.Uplink{Frame: &linkv1.Uplink_Acks{Acks: &linkv1.AckBatch{Commands: []*linkv1.CommandAck{a}}}}
}

func orderAck(a *linkv1.OrderAck) *linkv1.Uplink {
	return &linkv1.Uplink{Frame: &linkv1.Uplink_Acks{Acks: &linkv1.AckBatch{Orders: []*linkv1.OrderAck{a}}}}
}

func robotError(f func(x *linkv1.RobotError)) *linkv1.Uplink {
	x := &linkv1.RobotError{Code: "c", Level: linkv1.ErrorLevel_ERROR_LEVEL_INFO}
	f(x)
	return spoilt(func(b *linkv1.StatusBatch) {
		b.Errors = []*linkv1.RobotErrors{{Handle: 1, Errors: []*linkv1.RobotError{x}}}
	})
}

func load(l *linkv1.Load) *linkv1.Uplink {
	return spoilt(func(b *linkv1.StatusBatch) { b.Load = []*linkv1.Load{l} })
}

func long(n int) string { return strings.Repeat("x", n+1) }

type badFrame struct {
	field string // as the error names it
	frame *linkv1.Uplink
}

// badFrames breaks every bound once.
func badFrames() map[string]badFrame {
	all := map[string]badFrame{
		"an empty frame":                 {"frame", &linkv1.Uplink{}},
		"a long traceparent":             {"traceparent", &linkv1.Uplink{Traceparent: long(64), Frame: batch(1).Frame}},
		"goodbye of an unknown handle":   {"goodbye.handles", &linkv1.Uplink{Frame: &linkv1.Uplink_Goodbye{Goodbye: &linkv1.Goodbye{Handles: []uint32{9}}}}},
		"factsheet of an unknown handle": {"factsheet.handle", &linkv1.Uplink{Frame: &linkv1.Uplink_Factsheet{Factsheet: &linkv1.FactsheetReport{Handle: 9}}}},
	}
	for _, group := range [...]map[string]badFrame{badStatuses(), badSparse(), badHellos(), badReports()} {
		for name, b := range group {
			all[name] = b
		}
	}
	return all
}

func badStatuses() map[string]badFrame {
	all := map[string]badFrame{
		"no statuses":          {"statuses.handle", &linkv1.Uplink{Frame: &linkv1.Uplink_Statuses{Statuses: &linkv1.StatusBatch{}}}},
		"501 statuses":         {"statuses.handle", batch(make([]uint32, maxStatuses+1)...)},
		"status of handle 0":   {"statuses.handle", batch(0)},
		"status of handle 2":   {"statuses.handle", batch(2)},
		"status of handle max": {"statuses.handle", batch(math.MaxUint32)},
		"two modes":            {"statuses.mode", spoilt(func(b *linkv1.StatusBatch) { b.Mode = make([]linkv1.OperatingMode, 2) })},
		"mode 6":               {"statuses.mode", spoilt(func(b *linkv1.StatusBatch) { b.Mode = []linkv1.OperatingMode{6} })},
		"mode -1":              {"statuses.mode", spoilt(func(b *linkv1.StatusBatch) { b.Mode = []linkv1.OperatingMode{-1} })},
		"state 0":              {"statuses.state", spoilt(func(b *linkv1.StatusBatch) { b.State[0] = 0 })},
		"state 8":              {"statuses.state", spoilt(func(b *linkv1.StatusBatch) { b.State[0] = 8 })},
		"x that is no number":  {"statuses.x", spoilt(func(b *linkv1.StatusBatch) { b.X[0] = nan() })},
		"x without end":        {"statuses.x", spoilt(func(b *linkv1.StatusBatch) { b.X[0] = float32(math.Inf(1)) })},
		"y too far":            {"statuses.y", spoilt(func(b *linkv1.StatusBatch) { b.Y[0] = -1.1e6 })},
		"theta too large":      {"statuses.theta", spoilt(func(b *linkv1.StatusBatch) { b.Theta[0] = 101 })},
		"velocity too large":   {"statuses.velocity_mps", spoilt(func(b *linkv1.StatusBatch) { b.VelocityMps[0] = 101 })},
		"battery above 1":      {"statuses.battery_soc", spoilt(func(b *linkv1.StatusBatch) { b.BatterySoc[0] = 1.01 })},
		"battery below 0":      {"statuses.battery_soc", spoilt(func(b *linkv1.StatusBatch) { b.BatterySoc[0] = -.01 })},
		"battery no number":    {"statuses.battery_soc", spoilt(func(b *linkv1.StatusBatch) { b.BatterySoc[0] = nan() })},
		"time before 1970":     {"statuses.ts_ms", spoilt(func(b *linkv1.StatusBatch) { b.TsMs[0] = -1 })},
		"time after 9999":      {"statuses.ts_ms", spoilt(func(b *linkv1.StatusBatch) { b.TsMs[0] = math.MaxInt64 })},
	}
	for column, cut := range map[string]func(b *linkv1.StatusBatch){
		"seq":   func(b *linkv1.StatusBatch) { b.Seq = nil },
		"ts_ms": func(b *linkv1.StatusBatch) { b.TsMs = append(b.TsMs, 1) },
		"x":     func(b *linkv1.StatusBatch) { b.X = nil }, "y": func(b *linkv1.StatusBatch) { b.Y = nil },
		"theta":        func(b *linkv1.StatusBatch) { b.Theta = nil },
		"velocity_mps": func(b *linkv1.StatusBatch) { b.VelocityMps = nil },
		"battery_soc":  func(b *linkv1.StatusBatch) { b.BatterySoc = nil },
		"state":        func(b *linkv1.StatusBatch) { b.State = nil },
	} {
		all["column "+column+" of another length"] = badFrame{"statuses." + column, spoilt(cut)}
	}
	return all
}

func badSparse() map[string]badFrame {
	return map[string]badFrame{
		"more errors than robots": {"statuses.errors", spoilt(func(b *linkv1.StatusBatch) {
			b.Errors = []*linkv1.RobotErrors{{Handle: 1}, {Handle: 1}}
		})},
		"errors of an unknown handle": {"statuses.errors.handle", spoilt(func(b *linkv1.StatusBatch) { b.Errors = []*linkv1.RobotErrors{{Handle: 2}} })},
		"33 errors": {"statuses.errors", spoilt(func(b *linkv1.StatusBatch) {
			b.Errors = []*linkv1.RobotErrors{{Handle: 1, Errors: make([]*linkv1.RobotError, maxErrors+1)}}
			for i := range b.Errors[0].Errors {
				b.Errors[0].Errors[i] = &linkv1.RobotError{Level: 1}
			}
		})},
		"a long error code":       {"statuses.errors.code", robotError(func(x *linkv1.RobotError) { x.Code = long(64) })},
		"a long error message":    {"statuses.errors.message", robotError(func(x *linkv1.RobotError) { x.Message = long(maxText) })},
		"an error with NUL":       {"statuses.errors.message", robotError(func(x *linkv1.RobotError) { x.Message = "a\x00b" })},
		"an error not in UTF-8":   {"statuses.errors.code", robotError(func(x *linkv1.RobotError) { x.Code = "\xff" })},
		"error level 0":           {"statuses.errors.level", robotError(func(x *linkv1.RobotError) { x.Level = 0 })},
		"error level 4":           {"statuses.errors.level", robotError(func(x *linkv1.RobotError) { x.Level = 4 })},
		"more loads than robots":  {"statuses.load", spoilt(func(b *linkv1.StatusBatch) { b.Load = []*linkv1.Load{{Handle: 1}, {Handle: 1}} })},
		"load of handle 0":        {"statuses.load.handle", load(&linkv1.Load{})},
		"a long load id":          {"statuses.load.load_id", load(&linkv1.Load{Handle: 1, LoadId: long(maxText)})},
		"a long load type":        {"statuses.load.load_type", load(&linkv1.Load{Handle: 1, LoadType: long(maxText)})},
		"a load lighter than air": {"statuses.load.weight_kg", load(&linkv1.Load{Handle: 1, WeightKg: -1})},
		"a load of no weight":     {"statuses.load.weight_kg", load(&linkv1.Load{Handle: 1, WeightKg: nan()})},
	}
}

func badHellos() map[string]badFrame {
	all := map[string]badFrame{}
	for name, x := range map[string]struct {
		field string
		spoil func(h *linkv1.Hello, r *linkv1.RobotHello)
	}{
		"protocol 2":                {"protocol_version", func(h *linkv1.Hello, _ *linkv1.RobotHello) { h.ProtocolVersion = 2 }},
		"hello of nobody":           {"robots", func(h *linkv1.Hello, _ *linkv1.RobotHello) { h.Robots = nil }},
		"hello of 1001":             {"robots", func(h *linkv1.Hello, r *linkv1.RobotHello) { h.Robots = times(maxHellos+1, r) }},
		"a long agent":              {"agent", func(h *linkv1.Hello, _ *linkv1.RobotHello) { h.Agent = long(maxText) }},
		"a long warehouse":          {"warehouse_id", func(h *linkv1.Hello, _ *linkv1.RobotHello) { h.WarehouseId = long(36) }},
		"a robot without a name":    {"robots.robot_id", func(_ *linkv1.Hello, r *linkv1.RobotHello) { r.RobotId = "" }},
		"a long robot id":           {"robots.robot_id", func(_ *linkv1.Hello, r *linkv1.RobotHello) { r.RobotId = long(36) }},
		"a robot id not in UTF-8":   {"robots.robot_id", func(_ *linkv1.Hello, r *linkv1.RobotHello) { r.RobotId = "\xc3" }},
		"a long robot code":         {"robots.robot_code", func(_ *linkv1.Hello, r *linkv1.RobotHello) { r.RobotCode = long(128) }},
		"a robot code with NUL":     {"robots.robot_code", func(_ *linkv1.Hello, r *linkv1.RobotHello) { r.RobotCode = "\x00" }},
		"a long boot id":            {"robots.boot_id", func(_ *linkv1.Hello, r *linkv1.RobotHello) { r.BootId = long(maxBoot) }},
		"a pose that is no number":  {"robots.pose", func(_ *linkv1.Hello, r *linkv1.RobotHello) { r.Pose.Y = math.NaN() }},
		"a heading without end":     {"robots.resume.heading", func(_ *linkv1.Hello, r *linkv1.RobotHello) { r.Resume.Heading = float32(math.Inf(-1)) }},
		"a resume of 1001 vertices": {"robots.resume.base", func(_ *linkv1.Hello, r *linkv1.RobotHello) { r.Resume.Base = make([]uint32, maxBase+1) }},
		"a resume of no vertex":     {"robots.resume.base", func(_ *linkv1.Hello, r *linkv1.RobotHello) { r.Resume.Base = []uint32{math.MaxUint32} }},
		"a resume at no vertex": {"robots.resume.at_vertex", func(_ *linkv1.Hello, r *linkv1.RobotHello) {
			v := uint32(math.MaxInt32 + 1)
			r.Resume.AtVertex = &v
		}},
	} {
		all[name] = badFrame{"hello." + x.field, helloFrame(x.spoil)}
	}
	return all
}

func badReports() map[string]badFrame {
	good := &linkv1.Progress{Handle: 1, Number: 1}
	all := map[string]badFrame{
		"1001 entries of progress":     {"progress.entries", progressFrame(times(maxEntries+1, good)...)},
		"journal of an unknown handle": {"journal.entries.handle", &linkv1.Uplink{Frame: &linkv1.Uplink_Journal{Journal: &linkv1.Journal{Entries: []*linkv1.Progress{{Handle: 9, Number: 1}}}}}},
		"1001 acks": {"acks", &linkv1.Uplink{Frame: &linkv1.Uplink_Acks{Acks: &linkv1.AckBatch{
			Commands: times(500, &linkv1.CommandAck{Handle: 1}), Orders: times(501, &linkv1.OrderAck{Handle: 1}),
		}}}},
		"ack of handle 0":           {"acks.commands.handle", commandAck(func(a *linkv1.CommandAck) { a.Handle = 0 })},
		"ack of no uuid":            {"acks.commands.command_id", commandAck(func(a *linkv1.CommandAck) { a.CommandId = "c" })},
		"a long reason":             {"acks.commands.reason", commandAck(func(a *linkv1.CommandAck) { a.Reason = long(maxText) })},
		"a reason with NUL":         {"acks.commands.reason", commandAck(func(a *linkv1.CommandAck) { a.Reason = "\x00" })},
		"stage 0":                   {"acks.commands.stage", commandAck(func(a *linkv1.CommandAck) { a.Stage = 0 })},
		"stage 4":                   {"acks.commands.stage", commandAck(func(a *linkv1.CommandAck) { a.Stage = 4 })},
		"order ack of handle 2":     {"acks.orders.handle", orderAck(&linkv1.OrderAck{Handle: 2})},
		"a long refusal":            {"acks.orders.refused", orderAck(&linkv1.OrderAck{Handle: 1, Refused: long(maxText)})},
		"progress of handle 2":      {"progress.entries.handle", progressFrame(&linkv1.Progress{Handle: 2, Number: 1})},
		"progress number 0":         {"progress.entries.number", progressFrame(&linkv1.Progress{Handle: 1})},
		"progress at no vertex":     {"progress.entries.vertex", progressFrame(&linkv1.Progress{Handle: 1, Number: 1, Vertex: math.MaxUint32})},
		"progress before 1970":      {"progress.entries.at_ms", progressFrame(&linkv1.Progress{Handle: 1, Number: 1, AtMs: math.MinInt64})},
		"progress facing no number": {"progress.entries.heading", progressFrame(&linkv1.Progress{Handle: 1, Number: 1, Heading: nan()})},
		"progress of kind 6":        {"progress.entries.kind", progressFrame(&linkv1.Progress{Handle: 1, Number: 1, Kind: 6})},
		"progress of kind -1":       {"progress.entries.kind", progressFrame(&linkv1.Progress{Handle: 1, Number: 1, Kind: -1})},
	}
	return all
}

func times[T any](n int, x T) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = x
	}
	return all
}

func TestABrokenBoundEndsThatStreamAlone(t *testing.T) {
	t.Parallel()
	_, e, c := start(t, Options{})
	good, _ := connect(t, c)
	hello(t, good, "good")
	recv(t, good)
	for name, b := range badFrames() {
		ss, _ := connect(t, c)
		hello(t, ss, "r1")
		recv(t, ss)
		if err := ss.Send(b.frame); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err := recvWithin(ss, 5*time.Second)
		if code := status.Code(err); code != codes.InvalidArgument || !strings.HasPrefix(status.Convert(err).Message(), b.field+": ") {
			t.Errorf("%s: want INVALID_ARGUMENT that names %s, got %v", name, b.field, err)
		}
	}
	if err := good.Send(batch(1)); err != nil {
		t.Fatal(err)
	}
	if !until(5*time.Second, func() bool { return e.box("good").statuses.Load() == 1 }) {
		t.Fatal("the good stream suffered")
	}
	if b := e.box("r1"); b.statuses.Load() > 0 || b.count() > 0 {
		t.Errorf("of bad frames %d statuses and %d messages were taken", b.statuses.Load(), b.count())
	}
}

// recvWithin is Recv, or an error when nothing comes.
func recvWithin(s st, d time.Duration) (*linkv1.Downlink, error) {
	type answer struct {
		m   *linkv1.Downlink
		err error
	}
	got := make(chan answer, 1)
	go func() { // ends with the stream
		m, err := s.Recv()
		got <- answer{m, err}
	}()
	select {
	case a := <-got:
		return a.m, a.err
	case <-time.After(d):
		return nil, fmt.Errorf("nothing within %v", d)
	}
}

func TestFramesAtTheirBoundsAreTaken(t *testing.T) {
	t.Parallel()
	_, e, c := start(t, Options{})
	ss, _ := connect(t, c)
	hello(t, ss, "r1")
	recv(t, ss)
	for _, m := range []*linkv1.Uplink{
		spoilt(func(b *linkv1.StatusBatch) {
			b.X[0], b.Y[0], b.Theta[0], b.VelocityMps[0], b.BatterySoc[0], b.TsMs[0] = 1e6, -1e6, 100, -100, 1, 0
		}),
		spoilt(func(b *linkv1.StatusBatch) { b.Mode, b.BatterySoc[0] = []linkv1.OperatingMode{5}, 0 }),
		robotError(func(x *linkv1.RobotError) { x.Code, x.Message, x.Level = long(63), long(maxText-1), 3 }),
		load(&linkv1.Load{Handle: 1, LoadId: long(maxText - 1), WeightKg: 1e6}),
		batch(times(maxStatuses, uint32(1))...),
		progressFrame(times(maxEntries, &linkv1.Progress{Handle: 1, Number: 1, Vertex: math.MaxInt32, AtMs: maxTime})...),
		commandAck(func(a *linkv1.CommandAck) { a.Reason = long(maxText - 1) }),
		orderAck(&linkv1.OrderAck{Handle: 1}),
		{Frame: &linkv1.Uplink_Factsheet{Factsheet: &linkv1.FactsheetReport{Handle: 1}}},
		helloFrame(func(h *linkv1.Hello, r *linkv1.RobotHello) { h.Robots = times(maxHellos, r) }),
		helloFrame(func(_ *linkv1.Hello, r *linkv1.RobotHello) { r.Resume.Base = make([]uint32, maxBase) }),
	} {
		if err := ss.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	if w := recv(t, ss).GetWelcome(); w == nil || len(w.Robots) != maxHellos {
		t.Fatal("want a welcome for 1,000")
	}
	if b := e.box("r1"); b.statuses.Load() != 4+maxStatuses || b.count() != maxEntries+1 {
		t.Errorf("%d statuses, %d messages", b.statuses.Load(), b.count())
	}
}

func TestGarbageAndOversizeEndThatStreamAlone(t *testing.T) {
	t.Parallel()
	_, e, c := start(t, Options{})
	good, _ := connect(t, c)
	hello(t, good, "good")
	recv(t, good)
	huge := batch(1)
	huge.Traceparent = strings.Repeat("x", maxFrame)
	for name, x := range map[string]struct {
		frame *linkv1.Uplink
		want  string
	}{
		"a field cut short":    {garbage([]byte{0x1a, 0xff, 0xff, 0x03, 1}), "frame: cannot be decoded"},
		"an endless varint":    {garbage([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), "frame: cannot be decoded"},
		"a wrong wire type":    {garbage([]byte{0x18, 1}), "frame: cannot be decoded"},
		"columns that promise": {garbage([]byte{0x1a, 4, 0x22, 0xff, 0xff, 0x7f}), "frame: cannot be decoded"},
		"an unknown field":     {garbage(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1)), "frame: want one of"},
		"257 KiB":              {huge, "frame: want at most 262144 bytes"},
	} {
		ss, _ := connect(t, c)
		hello(t, ss, "r1")
		recv(t, ss)
		if err := ss.Send(x.frame); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err := recvWithin(ss, 5*time.Second)
		if status.Code(err) != codes.InvalidArgument || !strings.HasPrefix(status.Convert(err).Message(), x.want) {
			t.Errorf("%s: want INVALID_ARGUMENT %q, got %v", name, x.want, err)
		}
	}
	if err := good.Send(batch(1)); err != nil {
		t.Fatal(err)
	}
	if !until(5*time.Second, func() bool { return e.box("good").statuses.Load() == 1 }) {
		t.Fatal("the good stream suffered")
	}
}

// garbage is a frame that is sent as the given bytes: they stand where a message keeps fields that it does not know.
func garbage(raw []byte) *linkv1.Uplink {
	m := &linkv1.Uplink{}
	m.ProtoReflect().SetUnknown(raw)
	return m
}
