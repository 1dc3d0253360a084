//go:build integration

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// A drill hurts one thing and heals it: told is what /readyz must say meanwhile ("" = nothing in particular).
type drillRound struct {
	name  string
	store string // "" = the engine itself
	hurt  func(t *testing.T, a *arena)
	heal  func(t *testing.T, a *arena)
	away  time.Duration
	told  []string
}

// row is what a round has cost.
type drillRow struct {
	round     drillRound
	verdict   verdict
	noticed   time.Duration // until /readyz told of it
	healed    time.Duration // from healing until /readyz said that all is well
	recovered time.Duration // from healing until a task was created and the outbox was no more than a second behind
	whole     time.Duration // from healing until everything that is promised was there, projections and views too
	p99       time.Duration
	sent      int // commands during the fault
	lost      int // of these, not acknowledged
	rss       int64
}

func awayNames(store string) []string {
	if store == postgresStore {
		return []string{"down"}
	}
	return []string{"degraded"}
}

// network are the rounds of a store's connection.
func network(store string, away time.Duration, kinds ...string) (out []drillRound) {
	for _, kind := range kinds {
		r := drillRound{name: kind, store: store, away: away}
		r.heal = func(t *testing.T, a *arena) { t.Helper(); a.faults[store].heal(t) }
		switch kind {
		case "refuse":
			r.hurt, r.told = func(_ *testing.T, a *arena) { a.faults[store].proxy.Stop() }, awayNames(store)
		case "hang":
			r.hurt, r.told = func(t *testing.T, a *arena) { t.Helper(); a.faults[store].hang(t) }, awayNames(store)
		case "500 ms":
			r.hurt = func(t *testing.T, a *arena) {
				t.Helper()
				a.faults[store].toxic(t, `{"name":"slow","type":"latency","stream":"downstream","attributes":{"latency":500}}`)
			}
		case "reset":
			r.hurt = func(t *testing.T, a *arena) { // after so many bytes, in the middle of whatever it is
				t.Helper()
				a.faults[store].toxic(t, `{"name":"cut","type":"reset_peer","stream":"upstream","attributes":{"timeout":40}}`)
			}
			r.told = awayNames(store)
		}
		out = append(out, r)
	}
	return out
}

// kill is kill -9 of a server, or of the engine (store "").
func kill(store string, away time.Duration) drillRound {
	r := drillRound{name: "kill -9", store: store, away: away}
	if store == "" {
		r.hurt = func(t *testing.T, a *arena) {
			t.Helper()
			a.kill()
			_ = a.cmd.Wait()
		}
		r.heal = func(t *testing.T, a *arena) {
			t.Helper()
			a.launch(t, "gateway,engine,worker")
			a.ready(t)
		}
		return r
	}
	r.told = awayNames(store)
	r.hurt = func(t *testing.T, a *arena) { t.Helper(); a.killServer(t, store) }
	r.heal = func(t *testing.T, a *arena) { t.Helper(); a.restartServer(t, store) }
	return r
}

const diskFull = "disk full"

// everything kills all servers at once and starts them again in any order.
func everything(rng *rand.Rand) drillRound {
	order := drilledStores()
	rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return drillRound{
		name: "all, kill -9", store: postgresStore, told: []string{"down"},
		hurt: func(t *testing.T, a *arena) {
			t.Helper()
			for _, store := range order {
				a.killServer(t, store)
			}
		},
		heal: func(t *testing.T, a *arena) {
			t.Helper()
			for _, store := range order {
				a.restartServer(t, store)
			}
			for _, store := range order {
				if took := a.told(t, store, "ok"); took > a.limits.truth {
					t.Errorf("/readyz told that %s is back after %v; the order was %v", store, took, order)
				}
			}
		},
	}
}

// full fills a store's disk, Redis's memory.
func full(store string, away time.Duration) drillRound {
	r := drillRound{
		name: diskFull, store: store, away: away,
		hurt: func(t *testing.T, a *arena) { t.Helper(); a.fillDisk(t, store) },
		heal: func(t *testing.T, a *arena) { t.Helper(); a.freeDisk(t, store) },
	}
	if store == redisStore { // the others may still answer from what they have
		r.told = awayNames(store)
	}
	return r
}

// drillLimits are what a round may cost.
type drillLimits struct {
	truth     time.Duration // until /readyz tells what is so: two seconds, and what a shared machine takes besides
	recovered time.Duration // from healing until tasks are created and the outbox keeps up
	p99       time.Duration // of commands during a fault of a store that they do not need
	most      time.Duration // when this is over only the first `always` rounds are played still; 0 = all are
	always    int
}

// drillsAlone are the limits where nothing else runs; drillsBeside are those beside all other tests on two cores, each some
// ten times what it costs there otherwise.
func drillsAlone() drillLimits {
	return drillLimits{truth: 3 * time.Second, recovered: 20 * time.Second, p99: 3 * time.Second}
}

func drillsBeside() drillLimits {
	return drillLimits{truth: 10 * time.Second, recovered: 40 * time.Second, p99: 8 * time.Second, most: 2 * time.Minute}
}

// play plays a round and judges it.
func (a *arena) play(t *testing.T, r drillRound, before verdict) drillRow {
	t.Helper()
	row := drillRow{round: r}
	began := time.Now()
	r.hurt(t, a)
	if r.told != nil {
		row.noticed = a.told(t, r.store, r.told...)
		if row.noticed > a.limits.truth {
			t.Errorf("%s %s: /readyz told of it after %v", r.store, r.name, row.noticed)
		}
	}
	time.Sleep(max(0, r.away-time.Since(began)))
	ended := time.Now()
	r.heal(t, a)
	healed := time.Now()
	if r.store != "" {
		row.healed = a.told(t, r.store, "ok")
		if row.healed > a.limits.truth {
			t.Errorf("%s %s: /readyz told that it is over after %v", r.store, r.name, row.healed)
		}
	}
	if err := a.recovered(t); err != nil {
		t.Errorf("%s %s: %v; the end of the log: %s", r.store, r.name, err, a.tail(4000))
	}
	if row.recovered = time.Since(healed); row.recovered > a.limits.recovered {
		t.Errorf("%s %s: tasks are created again after %v", r.store, r.name, row.recovered)
	}
	row.p99, row.sent, row.lost = a.commandP99(began, ended)
	row.verdict = a.judge(t, before)
	row.whole = time.Since(healed)
	row.rss = a.rss()
	return row
}

// recovered waits until tasks are created again and the outbox keeps up.
func (a *arena) recovered(t *testing.T) error {
	t.Helper()
	a.mu.Lock()
	had := len(a.acked)
	a.mu.Unlock()
	var err error
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		a.mu.Lock()
		more := len(a.acked) > had
		a.mu.Unlock()
		var behind float64
		err = a.rows.QueryRow(t.Context(), "SELECT coalesce(max(extract(epoch FROM now() - created_at)), 0) FROM outbox_events WHERE status = 'PENDING'").Scan(&behind)
		switch {
		case err != nil:
		case !more:
			err = fmt.Errorf("no task is created")
		case behind > 1:
			err = fmt.Errorf("the outbox is %.1f s behind", behind)
		default:
			return nil
		}
	}
	return err
}

// drilled plays rounds on a new arena and prints the table.
func drilled(t *testing.T, rounds []drillRound, small bool, limits drillLimits) {
	t.Helper()
	start := time.Now()
	a := newArena(t, small)
	a.limits = limits
	if len(rounds) > 100 { // robots do no more tasks than that, and what waits is looked at again and again
		a.every = time.Second
	}
	a.load(t, 24)
	for _, store := range drilledStores() {
		a.told(t, store, "ok")
	}
	if err := a.recovered(t); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	time.Sleep(4 * time.Second)
	base := drillRow{round: drillRound{name: "none"}}
	base.p99, base.sent, base.lost = a.commandP99(began, time.Now())
	base.verdict, base.rss = a.judge(t, verdict{}), a.rss()
	rows := []drillRow{base}
	doubles := base.verdict
	for i, r := range rounds {
		if limits.most > 0 && i >= limits.always && time.Since(start) > limits.most {
			t.Logf("%d of %d rounds are left out after %v on this machine", len(rounds)-i, len(rounds), time.Since(start).Round(time.Second))
			break
		}
		if r.name == diskFull && r.store != redisStore && a.disks[r.store] == "" {
			continue // see arena.disk
		}
		row := a.play(t, r, doubles)
		rows = append(rows, row)
		t.Logf("%d of %d: %s %s %+v, recovered in %v, whole in %v", len(rows)-1, len(rounds), r.store, r.name, row.verdict, row.recovered.Round(time.Millisecond), row.whole.Round(time.Millisecond))
		doubles.Doubled += row.verdict.Doubled
		if t.Failed() {
			break
		}
	}
	a.quiet()
	end := a.judge(t, verdict{})
	a.floor.judge(t, 24)
	t.Log("\n" + drillTable(rows))
	for _, row := range rows {
		v := row.verdict
		if v.Lost+v.Missing+v.Reordered+v.Effects+v.Views > 0 {
			t.Errorf("%s %s: %+v", row.round.store, row.round.name, v)
		}
		if s := row.round.store; s != "" && s != postgresStore && row.lost > 0 {
			t.Errorf("%s %s: %d of %d commands were not acknowledged", s, row.round.name, row.lost, row.sent)
		}
		if s := row.round.store; s != "" && s != postgresStore && row.p99 > limits.p99 {
			t.Errorf("%s %s: the P99 of %d commands is %v", s, row.round.name, row.sent, row.p99)
		}
		if row.rss > base.rss+400<<20 {
			t.Errorf("%s %s: the engine takes %d MB, %d at first", row.round.store, row.round.name, row.rss>>20, base.rss>>20)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	t.Logf("in the end: %+v; %d creations were tried again, %d commands, %d moves without a conflict", end, a.refused, len(a.commands), len(a.floor.moves))
}

func drillTable(rows []drillRow) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "store\tfault\taway\tacknowledged\tlost\tfacts\tmissing\tdoubled\tin effect\treordered\tviews\tnoticed\thealed\trecovered\twhole\tlast\tcommand P99\tnot acked\tMB\t")
	ms := func(d time.Duration) string {
		if d == 0 {
			return "-"
		}
		return d.Round(time.Millisecond).String()
	}
	for _, r := range rows {
		store, v := r.round.store, r.verdict
		if store == "" {
			store = "engine"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%d/%d\t%d\t\n", store, r.round.name, ms(r.round.away), v.Acked, v.Lost, v.Facts,
			v.Missing, v.Doubled, v.Effects, v.Reordered, v.Views, ms(r.noticed), ms(r.healed), ms(r.recovered), ms(r.whole), r.verdict.last, ms(r.p99), r.lost, r.sent, r.rss>>20)
	}
	_ = w.Flush()
	return b.String()
}

// The short form: of each store two faults of its connection, and eight kills at random points, of servers and of the
// engine: of these the first five, one of each, however slow the machine is. `make drills` plays all there are.
func TestDrillsInShort(t *testing.T) {
	const away = 1500 * time.Millisecond
	rng := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	var rounds []drillRound
	rounds = append(rounds, network(redisStore, away, "refuse", "hang")...)
	rounds = append(rounds, network(kafkaStore, away, "hang", "reset")...)
	rounds = append(rounds, network(influxStore, away, "refuse", "hang")...)
	rounds = append(rounds, network(postgresStore, away, "500 ms", "refuse")...)
	limits := drillsBeside()
	limits.always = len(rounds) + 5
	drilled(t, append(rounds, kills(rng, 8)...), false, limits)
}

// kills are rounds of kill -9 in which every store and the engine have their turn, at random points.
func kills(rng *rand.Rand, n int) (out []drillRound) {
	victims := []string{"", postgresStore, kafkaStore, redisStore, influxStore, "", "", postgresStore} // at first each once
	for i := range n {
		r := kill(victims[i%len(victims)], time.Duration(rng.IntN(1200))*time.Millisecond)
		hurt := r.hurt
		before := time.Duration(rng.IntN(700)) * time.Millisecond
		r.hurt = func(t *testing.T, a *arena) { t.Helper(); time.Sleep(before); hurt(t, a) }
		out = append(out, r)
	}
	return out
}

// TestDrills plays what STARLING_DRILLS asks for: "all" is every fault of every store, 10 s away included, and away for
// STARLING_DRILLS_AWAY where that is set; "away" is the last alone; a number is so many kills at random points. Without it
// the test has nothing to do, TestDrillsInShort has the short form.
func TestDrills(t *testing.T) {
	want := os.Getenv("STARLING_DRILLS")
	if want == "" {
		return // see TestDrillsInShort
	}
	if n, err := strconv.Atoi(want); err == nil {
		drilled(t, kills(rand.New(rand.NewPCG(2, uint64(time.Now().UnixNano()))), n), false, drillsAlone())
		return
	}
	var rounds []drillRound
	if want == "all" {
		rounds = allRounds()
	}
	if text := os.Getenv("STARLING_DRILLS_AWAY"); text != "" { // such as 5m
		away, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, store := range drilledStores() {
			long := network(store, away, "hang")
			long[0].name = text + " away"
			rounds = append(rounds, long...)
		}
	}
	drilled(t, rounds, want == "all", drillsAlone())
}

func allRounds() (rounds []drillRound) {
	for _, store := range drilledStores() {
		rounds = append(rounds, network(store, 3*time.Second, "refuse", "hang", "500 ms", "reset")...)
		long := network(store, 10*time.Second, "refuse")
		long[0].name = "10 s away"
		rounds = append(rounds, append(long, kill(store, time.Second), full(store, 5*time.Second))...)
	}
	rng := rand.New(rand.NewPCG(3, uint64(time.Now().UnixNano())))
	return append(rounds, kill("", 500*time.Millisecond), everything(rng), everything(rng), kill("", 500*time.Millisecond))
}
