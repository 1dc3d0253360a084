package audit

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"starling/engine/fact"
)

// journal is entries on disk, oldest first: in files (segments) that are read and removed as a whole. Each process has a
// directory of its own, locked as long as it lives; one that is not locked is a dead process's and is taken over. What a
// process was writing when it died is one torn line at most.
type journal struct {
	dir     string // of all processes
	own     string
	lock    *os.File
	most    int64
	segment int64
	torn    func(bytes int)

	mu       sync.Mutex
	bytes    int64
	segments []segment // oldest first; the last may be the one in writing
	writing  *os.File
	number   int
	adopted  map[string]*os.File // directories that were taken over, with their locks
	reading  []fact.AuditEntry   // of segments[0], not yet forgotten
	read     bool                // segments[0] has been read
	closed   bool
}

type segment struct {
	path string
	size int64
}

const (
	lockName   = "lock"
	extension  = ".log"
	unbornMark = ".new-"
	// unbornFor is after which time a directory without a name is taken for one whose process died making it.
	unbornFor = time.Hour
)

// errNoRoom: the journal is as large as it may be.
var errNoRoom = errors.New("the journal is full")

func openJournal(dir string, most, segmentBytes int64, torn func(int)) (*journal, error) {
	j := &journal{dir: dir, most: most, segment: segmentBytes, torn: torn, adopted: map[string]*os.File{}}
	if dir == "" {
		return nil, errors.New("its directory must be given")
	}
	name := uuid.NewString()
	// Locked before it has its name: whoever looks for the dead never finds it without its lock held.
	unborn := filepath.Join(dir, unbornMark+name)
	if err := os.MkdirAll(unborn, 0o700); err != nil {
		return nil, err
	}
	lock, held, err := tryLock(unborn, os.O_CREATE)
	if err != nil {
		return nil, err
	}
	if !held {
		return nil, errors.New("somebody else holds a lock of ours")
	}
	j.lock, j.own = lock, filepath.Join(dir, name)
	if err := os.Rename(unborn, j.own); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return j, j.adopt()
}

// tryLock takes the lock of a directory where nobody holds it. The lock goes with the process.
func tryLock(dir string, flags int) (lock *os.File, held bool, err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|flags, 0o600)
	if err != nil {
		return nil, false, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, true, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, false, nil
	}
	return nil, false, err
}

// adopt takes over the directories whose processes are dead.
func (j *journal) adopt() error {
	list, err := os.ReadDir(j.dir)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil
	}
	var errs []error
	for _, d := range list {
		dir := filepath.Join(j.dir, d.Name())
		if !d.IsDir() || dir == j.own || j.adopted[dir] != nil {
			continue
		}
		if strings.HasPrefix(d.Name(), unbornMark) {
			if info, err := d.Info(); err == nil && time.Since(info.ModTime()) > unbornFor {
				errs = append(errs, os.RemoveAll(dir))
			}
			continue
		}
		lock, held, err := tryLock(dir, 0)
		switch {
		case errors.Is(err, os.ErrNotExist):
			_ = os.Remove(dir) // where its lock went and its process died; or it has just gone as a whole
		case err != nil:
			errs = append(errs, err)
		case held:
			errs = append(errs, j.takeOver(dir, lock))
		}
	}
	return errors.Join(errs...)
}

// takeOver puts a directory's segments before our own: they are older.
func (j *journal) takeOver(dir string, lock *os.File) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		_ = lock.Close()
		if errors.Is(err, os.ErrNotExist) { // somebody else was through with it before we had its lock
			return nil
		}
		return err
	}
	var found []segment
	for _, f := range list {
		if !strings.HasSuffix(f.Name(), extension) {
			continue
		}
		info, err := f.Info()
		if err != nil {
			_ = lock.Close()
			return err
		}
		found = append(found, segment{filepath.Join(dir, f.Name()), info.Size()})
	}
	slices.SortFunc(found, func(a, b segment) int { return cmp.Compare(a.path, b.path) }) // numbered with leading zeros
	if len(found) == 0 {
		return j.discard(dir, lock)
	}
	j.adopted[dir] = lock
	at := 0
	if j.read {
		at = 1 // the first is half done
	}
	j.segments = slices.Insert(j.segments, at, found...)
	for _, s := range found {
		j.bytes += s.size
	}
	return nil
}

// discard removes a directory of which nothing is left. Its lock is held: nobody else does the same.
func (j *journal) discard(dir string, lock *os.File) error {
	var errs []error
	for _, path := range []string{filepath.Join(dir, lockName), dir} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // a directory without lock: anybody's
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, lock.Close())...)
}

func (j *journal) empty() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.segments) == 0
}

func (j *journal) size() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.bytes
}

// append adds entries and returns how many are safe on disk. Errors: errNoRoom, or the disk's.
func (j *journal) append(batch []fact.AuditEntry) (n int, err error) {
	if len(batch) == 0 {
		return 0, nil
	}
	var lines []byte
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range batch {
		before := len(lines)
		var bad error
		if lines, bad = appendLine(lines, &batch[i]); bad != nil {
			err = bad
			continue
		}
		if j.bytes+int64(len(lines)) > j.most {
			lines, err = lines[:before], errNoRoom
			break
		}
		n++
	}
	if n == 0 {
		return 0, err
	}
	if e := j.put(lines); e != nil {
		return 0, e
	}
	return n, err
}

// put writes lines to the segment in writing. After a failure the next lines begin a new one: half a line that may stand
// at the end of the old one spoils no other.
func (j *journal) put(lines []byte) error {
	if j.closed {
		return errStopped
	}
	if j.writing == nil {
		if err := j.begin(); err != nil {
			return err
		}
	}
	wrote, err := j.writing.Write(lines)
	last := &j.segments[len(j.segments)-1]
	last.size += int64(wrote)
	j.bytes += int64(wrote)
	if err == nil {
		err = j.writing.Sync()
	}
	if err != nil || last.size >= j.segment {
		return errors.Join(err, j.end())
	}
	return nil
}

// begin makes a new segment.
func (j *journal) begin() error {
	j.number++
	path := filepath.Join(j.own, fmt.Sprintf("%010d%s", j.number, extension))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if d, err := os.Open(j.own); err == nil { // the file's name is to outlive a power cut too
		_ = d.Sync()
		_ = d.Close()
	}
	j.writing = f
	j.segments = append(j.segments, segment{path: path})
	return nil
}

// end closes the segment in writing: it may be read now.
func (j *journal) end() error {
	if j.writing == nil {
		return nil
	}
	err := j.writing.Close()
	j.writing = nil
	return err
}

// oldest returns up to n of the oldest entries, none where the journal is empty. They stay until they are forgotten.
func (j *journal) oldest(n int) ([]fact.AuditEntry, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.segments) > 0 {
		if !j.read {
			if len(j.segments) == 1 && j.writing != nil {
				if err := j.end(); err != nil {
					return nil, err
				}
			}
			content, err := os.ReadFile(j.segments[0].path)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, err
			}
			j.reading, j.read = parse(content, j.torn), true
		}
		if len(j.reading) > 0 {
			return j.reading[:min(n, len(j.reading))], nil
		}
		if err := j.drop(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// forget takes the n oldest entries away.
func (j *journal) forget(n int) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.reading = j.reading[n:]; len(j.reading) > 0 {
		return nil
	}
	return j.drop()
}

// drop removes the first segment, and its directory where that was a dead process's last one.
func (j *journal) drop() error {
	s := j.segments[0]
	if err := os.Remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	j.segments, j.bytes, j.reading, j.read = j.segments[1:], j.bytes-s.size, nil, false
	dir := filepath.Dir(s.path)
	lock := j.adopted[dir]
	if lock == nil || slices.ContainsFunc(j.segments, func(o segment) bool { return filepath.Dir(o.path) == dir }) {
		return nil
	}
	delete(j.adopted, dir)
	return j.discard(dir, lock)
}

// close gives the locks back; what is left is for the next process.
func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil
	}
	j.closed = true
	errs := []error{j.end()}
	for _, lock := range j.adopted {
		errs = append(errs, lock.Close())
	}
	if slices.ContainsFunc(j.segments, func(s segment) bool { return filepath.Dir(s.path) == j.own }) {
		errs = append(errs, j.lock.Close())
	} else {
		errs = append(errs, j.discard(j.own, j.lock))
	}
	return errors.Join(errs...)
}
