package influx

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// spool keeps blocks on disk that the server has not taken, a file each, compressed. At its bound the oldest go, counted:
// what was measured last is worth most. It is not made durable: what a machine's fall takes along was only measured.
type spool struct {
	dir     string // "" = nothing is kept
	most    int64
	metrics *metrics

	mu     sync.Mutex
	files  []spooled // the oldest first
	bytes  int64
	points int
	serial uint64
}

type spooled struct {
	name     string
	serial   uint64
	size     int64
	points   int
	to       stream
	from, by int64
}

// maxFiles bounds the files of a spool.
const maxFiles = 100_000

const spoolFormat = "%016x-%d-%d-%d-%d.lp.gz"

// openSpool finds what an earlier process left.
func openSpool(dir string, most int64, m *metrics) (*spool, error) {
	s := &spool{dir: dir, most: most, metrics: m}
	if dir == "" {
		return s, nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the directory of what waits for influxdb: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the directory of what waits for influxdb: %w", err)
	}
	for _, e := range entries {
		var f spooled
		if strings.HasSuffix(e.Name(), ".tmp") {
			_ = os.Remove(filepath.Join(dir, e.Name())) // half written
			continue
		}
		if n, _ := fmt.Sscanf(e.Name(), spoolFormat, &f.serial, &f.to, &f.points, &f.from, &f.by); n != 5 {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue
		}
		f.name, f.size = e.Name(), info.Size()
		s.files = append(s.files, f)
		s.serial, s.bytes, s.points = max(s.serial, f.serial), s.bytes+f.size, s.points+f.points
	}
	slices.SortFunc(s.files, func(a, b spooled) int { return strings.Compare(a.name, b.name) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bound()
	return s, nil
}

// put keeps a block.
func (s *spool) put(b *block) {
	if s.dir == "" {
		s.metrics.dropped.WithLabelValues("memory").Add(float64(b.points))
		return
	}
	lines := b.lines
	if !b.packed {
		lines = pack(lines)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	f := spooled{serial: s.serial, size: int64(len(lines)), points: b.points, to: b.to, from: b.from, by: b.by}
	f.name = fmt.Sprintf(spoolFormat, f.serial, f.to, f.points, f.from, f.by)
	path := filepath.Join(s.dir, f.name)
	err := os.WriteFile(path+".tmp", lines, 0o600)
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil { // the disk is full, or gone
		_ = os.Remove(path + ".tmp")
		s.metrics.dropped.WithLabelValues("disk_fault").Add(float64(b.points))
		return
	}
	s.files = append(s.files, f)
	s.bytes, s.points = s.bytes+f.size, s.points+f.points
	s.bound()
}

// bound gives the oldest up until the rest may stay. s.mu is held.
func (s *spool) bound() {
	for len(s.files) > 0 && (s.bytes > s.most || len(s.files) > maxFiles) {
		s.metrics.dropped.WithLabelValues("disk").Add(float64(s.files[0].points))
		s.remove(0)
	}
	s.show()
}

func (s *spool) remove(i int) {
	f := s.files[i]
	s.files = slices.Delete(s.files, i, i+1)
	s.bytes, s.points = s.bytes-f.size, s.points-f.points
	if err := os.Remove(filepath.Join(s.dir, f.name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.metrics.errors.WithLabelValues("spool").Inc()
	}
}

func (s *spool) show() {
	s.metrics.spool.Set(float64(s.bytes))
	s.metrics.waiting.Set(float64(s.points))
}

// The bounds of what first reads at once: small blocks leave together.
const (
	mostRead   = 5000    // points
	mostPacked = 1 << 20 // bytes
)

// first reads the oldest blocks that may leave as one; nil = there are none. done follows, or nothing. Compressed files one
// after the other are a compressed file.
func (s *spool) first() *block {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b *block
	for i := 0; i < len(s.files); {
		f := s.files[i]
		if b != nil && (f.to != b.to || b.points+f.points > mostRead || len(b.lines)+int(f.size) > mostPacked) {
			break
		}
		lines, err := os.ReadFile(filepath.Join(s.dir, f.name))
		if err != nil {
			s.metrics.dropped.WithLabelValues("disk_fault").Add(float64(f.points))
			s.remove(i)
			s.show()
			continue
		}
		if b == nil {
			b = &block{to: f.to, from: f.from, by: f.by, packed: true}
		}
		b.lines, b.points, b.serial = append(b.lines, lines...), b.points+f.points, f.serial
		b.from, b.by = min(b.from, f.from), max(b.by, f.by)
		i++
	}
	return b
}

// done forgets what first gave, as far as the bound has not come first.
func (s *spool) done(b *block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.files) > 0 && s.files[0].serial <= b.serial {
		s.remove(0)
	}
	s.show()
}

func (s *spool) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.files) == 0
}
