package influx

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// spool keeps blocks on disk that the server has not taken, a file each, compressed. At its bound the oldest go, counted:
// what was measured last is worth most. It is not made durable: what a machine's fall takes along was only measured.
type spool struct {
	dir     string // "" = nothing is kept
	most    int64
	metrics *metrics
	lock    *os.File // held while dir is this process's

	mu     sync.Mutex
	files  []spooled // the oldest first, by serial
	bytes  int64
	points int
	serial uint64
	owed   span // as its file says
}

type spooled struct {
	name     string
	serial   uint64
	size     int64
	points   int
	to       stream
	from, by int64
	found    bool // an earlier process wrote it: it may be cut short

	failed  int    // how often the server has not taken it, and it may be its own fault
	took    uint64 // what the server had taken of the stream when it failed last
	strikes int    // how often it failed again although the server had taken something else meanwhile
}

const (
	maxFiles   = 100_000 // of a spool
	maxSpools  = 16      // processes that share a directory
	lockName   = "lock"
	owedName   = "owed"
	mostStruck = 5 // then a file is given up
)

const spoolFormat = "%016x-%d-%d-%d-%d.lp.gz"

// openSpool finds what earlier processes left. A directory is one process's: the second that is pointed at it takes the
// folder 1 in it, and so on; what lies in folders that nobody holds any more moves to whoever comes.
func openSpool(dir string, most int64, m *metrics) (*spool, error) {
	s := &spool{dir: dir, most: most, metrics: m}
	if dir == "" {
		return s, nil
	}
	left, err := s.claim(dir)
	if err != nil {
		return nil, fmt.Errorf("take the directory of what waits for influxdb: %w", err)
	}
	var owed span
	for _, from := range append([]string{s.dir}, left...) {
		if err := s.adopt(from); err != nil {
			_ = s.lock.Close()
			return nil, fmt.Errorf("read the directory of what waits for influxdb: %w", err)
		}
		owed = owed.with(s.owedIn(from))
	}
	s.owe(owed)
	for _, from := range left {
		_ = os.Remove(filepath.Join(from, owedName))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bound()
	return s, nil
}

// claim takes the first folder that nobody holds, and names the others that nobody holds.
func (s *spool) claim(dir string) (left []string, err error) {
	for i := range maxSpools {
		folder := dir
		if i > 0 {
			folder = filepath.Join(dir, strconv.Itoa(i))
		}
		if s.lock == nil {
			err = os.MkdirAll(folder, 0o750)
		} else if _, gone := os.Stat(folder); gone != nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		f, err := os.OpenFile(filepath.Join(folder, lockName), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) //nolint:gosec // a descriptor is small
		switch {
		case err == nil && s.lock == nil:
			s.dir, s.lock = folder, f
			continue
		case err == nil:
			left = append(left, folder)
		case !errors.Is(err, syscall.EWOULDBLOCK):
			_ = f.Close()
			return nil, err
		}
		_ = f.Close()
	}
	if s.lock == nil {
		return nil, fmt.Errorf("%d processes use it already", maxSpools)
	}
	return left, nil
}

// adopt takes the files of a folder over.
func (s *spool) adopt(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		f := spooled{name: e.Name(), found: true}
		if strings.HasSuffix(f.name, ".tmp") {
			_ = os.Remove(filepath.Join(folder, f.name)) // half written
			continue
		}
		if n, _ := fmt.Sscanf(f.name, spoolFormat, &f.serial, &f.to, &f.points, &f.from, &f.by); n != 5 || f.to > streamTimings {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue
		}
		f.size = info.Size()
		if folder != s.dir {
			f.serial = s.serial + 1
			f.name = f.as()
			if err := os.Rename(filepath.Join(folder, e.Name()), filepath.Join(s.dir, f.name)); err != nil {
				continue // whoever was faster has it
			}
		}
		s.files = append(s.files, f)
		s.serial, s.bytes, s.points = max(s.serial, f.serial), s.bytes+f.size, s.points+f.points
	}
	slices.SortFunc(s.files, func(a, b spooled) int { return cmp.Compare(a.serial, b.serial) })
	return nil
}

// as is the name of the file.
func (f *spooled) as() string {
	return fmt.Sprintf(spoolFormat, f.serial, f.to, f.points, f.from, f.by)
}

// close gives the directory up.
func (s *spool) close() {
	if s.lock != nil {
		_ = s.lock.Close()
	}
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
	f.name = f.as()
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
	s.erase(&s.files[i])
	s.files = slices.Delete(s.files, i, i+1)
}

func (s *spool) erase(f *spooled) {
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

// first reads the oldest blocks of a stream that may leave as one; nil = there are none. done or failed follows, or
// nothing. Compressed files one after the other are a compressed file. What has failed leaves alone, after all others.
func (s *spool) first(to stream) *block {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b *block
	for i := s.next(to); i >= 0 && i < len(s.files); {
		f := s.files[i]
		if f.to != to || b != nil && f.failed > 0 {
			i++
			continue
		}
		if b != nil && (b.points+f.points > mostRead || len(b.lines)+int(f.size) > mostPacked) {
			break
		}
		lines, err := os.ReadFile(filepath.Join(s.dir, f.name))
		if err == nil && f.found {
			err = intact(lines)
		}
		if err != nil {
			s.metrics.dropped.WithLabelValues("disk_fault").Add(float64(f.points))
			s.remove(i)
			s.show()
			if b == nil {
				i = s.next(to)
			}
			continue
		}
		if b == nil {
			b = &block{to: to, from: f.from, by: f.by, packed: true}
		}
		b.lines, b.points, b.serials = append(b.lines, lines...), b.points+f.points, append(b.serials, f.serial)
		b.from, b.by = min(b.from, f.from), max(b.by, f.by)
		if f.failed > 0 {
			break
		}
		i++
	}
	return b
}

// next is the file of a stream that has failed least often, the oldest of those; -1 = there is none. s.mu is held.
func (s *spool) next(to stream) int {
	best := -1
	for i := range s.files {
		f := &s.files[i]
		if f.to != to {
			continue
		}
		if f.failed == 0 {
			return i
		}
		if best < 0 || f.failed < s.files[best].failed {
			best = i
		}
	}
	return best
}

// intact checks a compressed file: the fall of a machine can cut one short, and the server does not take its like.
func intact(packed []byte) error {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, z) //nolint:gosec // this process's own file, and it goes nowhere
	return err
}

// done forgets what first gave, as far as the bound has not come first.
func (s *spool) done(b *block) {
	s.drop(func(f *spooled) bool { _, of := slices.BinarySearch(b.serials, f.serial); return of })
}

// failed notes that the server has not taken what first gave, though it has taken so much of the stream in all. A file that
// fails by its own fault again and again while others are taken is given up; the points of those are returned.
func (s *spool) failed(b *block, took uint64, fault bool) (lost int) {
	s.drop(func(f *spooled) bool {
		if _, of := slices.BinarySearch(b.serials, f.serial); !of {
			return false
		}
		if fault && f.failed > 0 && took > f.took && len(b.serials) == 1 {
			f.strikes++
		}
		f.failed, f.took = f.failed+1, took
		if f.strikes < mostStruck {
			return false
		}
		lost += f.points
		return true
	})
	return lost
}

func (s *spool) drop(goes func(*spooled) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.files[:0]
	for i := range s.files {
		if goes(&s.files[i]) {
			s.erase(&s.files[i])
			continue
		}
		kept = append(kept, s.files[i])
	}
	s.files = kept
	s.show()
}

// settled says that nothing of a stream waits but what the server has not taken twice.
func (s *spool) settled(to stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(s.files, func(f spooled) bool { return f.to == to && f.failed < 2 })
}
