//go:build integration

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"starling/persistence/kafka"
)

// factReader is a foreign reader of all facts, from the first record on; it notes what it sees and drops nothing.
type factReader struct {
	mu      sync.Mutex
	seen    map[string]int      // event id -> how often
	order   map[string][]string // aggregate -> event ids as they came first
	records int
}

func newFactReader(t *testing.T, broker string) *factReader {
	t.Helper()
	r := &factReader{seen: map[string]int{}, order: map[string][]string{}}
	o := kafka.Options{Brokers: []string{broker}}
	var topics []string
	for _, topic := range kafka.Topics(false) {
		if topic.Facts {
			topics = append(topics, o.Name(topic.Name))
		}
	}
	c, err := kafka.NewClient(o, kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			c.PollFetches(ctx).EachRecord(r.take)
		}
	})
	t.Cleanup(func() {
		cancel()
		done.Wait()
		c.Close()
	})
	return r
}

func (r *factReader) take(rec *kgo.Record) {
	id, aggregate := headerOf(rec, "ce_id"), string(rec.Key)+" "+rec.Topic
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records++
	if r.seen[id]++; r.seen[id] == 1 {
		r.order[aggregate] = append(r.order[aggregate], id)
	}
}

// verdict is what a drill has cost.
type verdict struct {
	Acked, Lost    int // tasks that were acknowledged, and those of them that Postgres does not have
	Facts, Missing int // facts in the outbox, and those of them that the reader has not seen
	Doubled        int // records beyond the first of a fact
	Reordered      int // facts that came before an earlier one of their aggregate
	Effects        int // tasks whose projection is not what their events make
	Views          int // open tasks whose view is not what Postgres has

	last string // what was waited for longest
}

// judge holds what there is against what was promised, and waits for what is promised to come. before are the doubles that
// were there already.
func (a *arena) judge(t *testing.T, before verdict) (v verdict) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		var err error
		last := v.last
		v, err = a.look(t.Context())
		switch {
		case err != nil:
			v.last = err.Error()
		case v.Missing > 0:
			v.last = "facts"
		case v.Effects > 0:
			v.last = "projection"
		case v.Views > 0:
			v.last = "views"
		default:
			v.last = last
		}
		if err == nil && v.Missing == 0 && v.Effects == 0 && v.Views == 0 {
			break
		}
		if time.Now().After(deadline) {
			if err != nil {
				t.Error(err)
			}
			t.Errorf("a minute afterwards: %+v; the end of the log: %s", v, a.tail(4000))
			break
		}
	}
	v.Doubled -= before.Doubled
	return v
}

func (a *arena) look(ctx context.Context) (v verdict, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if v.Acked, v.Lost, err = a.lostTasks(ctx); err != nil {
		return v, err
	}
	if err = a.lookAtFacts(ctx, &v); err != nil {
		return v, err
	}
	if v.Effects, err = a.wrongEffects(ctx); err != nil {
		return v, err
	}
	v.Views, err = a.wrongViews(ctx)
	return v, err
}

// lostTasks counts what was acknowledged, and what of it Postgres does not have.
func (a *arena) lostTasks(ctx context.Context) (acked, lost int, err error) {
	a.mu.Lock()
	ids := make([]string, 0, len(a.acked))
	for id := range a.acked {
		ids = append(ids, id)
	}
	a.mu.Unlock()
	var there int
	err = a.rows.QueryRow(ctx, "SELECT count(*) FROM tasks WHERE task_id = ANY($1::text[]::uuid[])", ids).Scan(&there)
	return len(ids), len(ids) - there, err
}

// lookAtFacts holds the reader's records against the outbox. What was written in the last second may still be under way.
func (a *arena) lookAtFacts(ctx context.Context, v *verdict) error {
	rows, err := a.rows.Query(ctx, "SELECT event_id::text, key || ' ' || topic, seq, created_at < now() - interval '1 second' FROM outbox_events")
	if err != nil {
		return err
	}
	defer rows.Close()
	seqs, due := map[string]int64{}, map[string]bool{}
	for rows.Next() {
		var id, aggregate string
		var seq int64
		var old bool
		if err := rows.Scan(&id, &aggregate, &seq, &old); err != nil {
			return err
		}
		seqs[id], due[id] = seq, old
	}
	if err := rows.Err(); err != nil {
		return err
	}
	a.reader.mu.Lock()
	defer a.reader.mu.Unlock()
	v.Facts, v.Doubled = len(seqs), a.reader.records-len(a.reader.seen)
	for id, old := range due {
		if old && a.reader.seen[id] == 0 {
			v.Missing++
		}
	}
	for aggregate, ids := range a.reader.order {
		if strings.HasSuffix(aggregate, " "+kafka.TopicDecisions) { // keyed by warehouse, each an aggregate of its own
			continue
		}
		var last int64
		for _, id := range ids {
			if seq := seqs[id]; seq < last {
				v.Reordered++
			} else {
				last = seq
			}
		}
	}
	return nil
}

// wrongEffects counts tasks whose projection, made by our consumer, is not what their events make: one that was folded
// twice, or not at all.
func (a *arena) wrongEffects(ctx context.Context) (n int, err error) {
	err = a.rows.QueryRow(ctx, `WITH made AS (
			SELECT task_id, count(*) FILTER (WHERE event_type = 'assigned') AS awards,
				count(*) FILTER (WHERE event_type = 'errand_reached') AS errands, max(seq) AS version, max(occurred_at) AS at
			FROM task_events GROUP BY task_id)
		SELECT count(*) FROM made m LEFT JOIN task_timing t USING (task_id)
		WHERE m.at < now() - interval '2 seconds'
		  AND (t.task_id IS NULL OR t.version <> m.version OR t.awards <> m.awards)`).Scan(&n)
	return n, err
}

// wrongViews counts open tasks whose view in Redis is not what Postgres has, and views of tasks that are not open. What
// changed within the last two seconds may still be on its way.
func (a *arena) wrongViews(ctx context.Context) (n int, err error) {
	o, err := goredis.ParseURL(a.redis.URL())
	if err != nil {
		return 0, err
	}
	c := goredis.NewClient(o)
	defer func() { _ = c.Close() }()
	keys, err := c.Keys(ctx, "starling:*:tasks:*").Result()
	if err != nil {
		return 0, err
	}
	shown := map[string]int64{}
	for _, k := range keys {
		entries, err := c.HGetAll(ctx, k).Result()
		if err != nil {
			return 0, err
		}
		if entries["="] == "" {
			return 0, errors.New("the views are not whole")
		}
		for id, e := range entries {
			if id != "=" && len(e) > 32 { // a shorter one says that the task has ended
				var version int64
				if _, err := fmt.Sscanf(e[16:32], "%d", &version); err != nil {
					return 0, err
				}
				shown[id] = version
			}
		}
	}
	rows, err := a.rows.Query(ctx, "SELECT task_id::text, version, status IN ('SUCCEEDED', 'FAILED', 'CANCELLED'), updated_at > now() - interval '2 seconds' FROM tasks")
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var version int64
		var final, young bool
		if err := rows.Scan(&id, &version, &final, &young); err != nil {
			return 0, err
		}
		got, is := shown[id]
		delete(shown, id)
		if wrong := final == is || !final && got != version; wrong && !young {
			n++
		}
	}
	return n + len(shown), rows.Err()
}
