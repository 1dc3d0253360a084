package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// probeBound is how long one dependency may take to answer for /readyz. All are asked at once, so that the answer comes
// within it, whatever they do.
const probeBound = 1500 * time.Millisecond

var errNoAnswer = errors.New("no answer in time")

// probes asks dependencies how they do. However many ask for readiness, a dependency is asked by one of them, and the
// others take the same answer: one that never answers holds one goroutine.
type probes struct {
	checks []Check

	mu      sync.Mutex
	flights map[string]*flight // by name, under way
}

// flight is one question under way.
type flight struct {
	done chan struct{}
	err  error // once done
}

func newProbes(checks []Check) *probes {
	return &probes{checks: checks, flights: map[string]*flight{}}
}

// fly returns the question to a dependency that is under way, or asks.
func (p *probes) fly(c *Check) *flight {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.flights[c.Name]; f != nil {
		return f
	}
	f := &flight{done: make(chan struct{})}
	p.flights[c.Name] = f
	go func() { // ends with the probe, which has probeBound
		ctx, cancel := context.WithTimeout(context.Background(), probeBound)
		defer cancel()
		f.err = errNoAnswer // should the probe panic
		defer func() {
			if r := recover(); r != nil {
				f.err = fmt.Errorf("probe %s: %v", c.Name, r) // what was thrown is no error
			}
			p.mu.Lock()
			delete(p.flights, c.Name)
			p.mu.Unlock()
			close(f.done)
		}()
		f.err = c.Probe(ctx)
	}()
	return f
}

// ask asks all dependencies at once and says how each does: ok, down where it is critical, degraded where it is not.
func (p *probes) ask(ctx context.Context) (states map[string]string, down bool) {
	late, cancel := context.WithTimeout(ctx, probeBound)
	defer cancel()
	flights := make([]*flight, len(p.checks))
	for i := range p.checks {
		flights[i] = p.fly(&p.checks[i])
	}
	states = make(map[string]string, len(p.checks))
	for i, f := range flights {
		err := errNoAnswer
		select {
		case <-f.done:
			err = f.err
		case <-late.Done():
			select {
			case <-f.done:
				err = f.err
			default:
			}
		}
		switch c := &p.checks[i]; {
		case err == nil:
			states[c.Name] = "ok"
		case c.Critical:
			states[c.Name], down = "down", true
		default:
			states[c.Name] = "degraded"
		}
	}
	return states, down
}

// ready says whether requests should come here, and how each dependency does.
func (a *api) ready(w http.ResponseWriter, r *http.Request) {
	if len(a.Missing) > 0 || a.Invalid != nil {
		e := newError(http.StatusServiceUnavailable, codePrecondition, "the configuration is incomplete or invalid")
		missing := a.Missing
		if missing == nil {
			missing = []string{}
		}
		a.write(w, r, e.with("missing", missing).with("invalid", a.Invalid))
		return
	}
	states, down := a.probes.ask(r.Context())
	if a.stopping() {
		states["process"], down = "stopping", true
	}
	if down {
		a.write(w, r, newError(http.StatusServiceUnavailable, codeUnavailable, "a dependency is down").with("dependencies", states))
		return
	}
	answerJSON(w, http.StatusOK, map[string]any{"status": "ok", "dependencies": states})
}
