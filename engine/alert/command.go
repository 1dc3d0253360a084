package alert

import (
	"encoding/json"
	"slices"
	"time"
	"unicode/utf8"

	"starling/engine/fleet"
)

// command does what a person asks.
func (t *turn) command(m *Commanded) {
	if m.Loaded != nil && m.Loaded.ID == m.Alert {
		t.s.adopt(m.Loaded)
	}
	a := t.get(m.Alert)
	if a == nil {
		t.reply(NotFound, m.Alert)
		return
	}
	t.reply(t.do(a, m.Command), a.ID)
}

func (t *turn) reply(o Outcome, id ID) { t.out = append(t.out, Reply{Outcome: o, Alert: id}) }

func (t *turn) do(a *Alert, c Command) Outcome {
	switch c := c.(type) {
	case Acknowledge:
		return t.acknowledge(a, c)
	case Assign:
		return t.assign(a, c)
	case Comment:
		t.record(a, ActComment, Details{Text: cut(c.Text, MaxText)}, func(*Alert) {})
	case Snooze:
		return t.snooze(a, c)
	case Resolve:
		if a.Status == Resolved {
			return Done
		}
		t.record(a, ActResolve, Details{Text: cut(c.Text, MaxText), From: a.Level, Resolution: ByPerson}, func(a *Alert) {
			a.Status, a.Resolution, a.ResolvedAt, a.SnoozedUntil = Resolved, ByPerson, t.now, time.Time{}
		})
	case Rollback:
		return t.rollback(a, c)
	case SetMark:
		if a.Mark == c.Mark && c.Text == "" {
			return Done
		}
		t.record(a, ActMark, Details{Text: cut(c.Text, MaxText), Mark: c.Mark}, func(a *Alert) { a.Mark = c.Mark })
	}
	return Done
}

func (t *turn) acknowledge(a *Alert, c Acknowledge) Outcome {
	switch a.Status {
	case Resolved:
		return Conflict
	case Acknowledged:
		return Done
	case Open:
		t.record(a, ActAcknowledge, Details{Text: cut(c.Text, MaxText)}, func(a *Alert) {
			a.Status, a.AcknowledgedAt, a.AcknowledgedBy, a.SnoozedUntil = Acknowledged, t.now, t.by, time.Time{}
		})
	}
	return Done
}

func (t *turn) assign(a *Alert, c Assign) Outcome {
	switch {
	case a.Status == Resolved:
		return Conflict
	case a.Assignee == c.To:
		return Done
	}
	t.record(a, ActAssign, Details{Text: cut(c.Text, MaxText), Assignee: c.To}, func(a *Alert) { a.Assignee = c.To })
	return Done
}

func (t *turn) snooze(a *Alert, c Snooze) Outcome {
	until := c.Until
	if limit := t.now.Add(maxSnooze); until.After(limit) {
		until = limit
	}
	switch {
	case a.Status == Resolved:
		return Conflict
	case a.SnoozedUntil.Equal(until):
		return Done
	case !until.After(t.now): // it is woken
		if a.SnoozedUntil.IsZero() {
			return Done
		}
		t.record(a, ActWake, Details{Text: cut(c.Text, MaxText)}, func(a *Alert) { a.SnoozedUntil, a.CalledAt = time.Time{}, t.now })
		return Done
	}
	t.record(a, ActSnooze, Details{Text: cut(c.Text, MaxText), Until: until}, func(a *Alert) { a.SnoozedUntil = until })
	return Done
}

// What a rollback takes back, in Details.TakenBack.
const (
	tookAck      = "acknowledgement"
	tookAssignee = "assignment"
	tookSnooze   = "snooze"
	tookEnd      = "resolution"
	tookRemedy   = "remedy:"
)

// rollback takes back what was done about an alert. That it is to be undone is durable before anybody is asked to undo it.
func (t *turn) rollback(a *Alert, c Rollback) Outcome {
	var took []string
	reopen := a.Status == Resolved && a.Resolution == ByPerson && t.s.newest[a.key()] == a.ID
	if reopen && t.s.open >= MaxOpen {
		return Full
	}
	if reopen {
		took = append(took, tookEnd)
	}
	if active := a.Status != Resolved || reopen; active {
		if !a.AcknowledgedAt.IsZero() {
			took = append(took, tookAck)
		}
		if a.Assignee != "" {
			took = append(took, tookAssignee)
		}
		if !a.SnoozedUntil.IsZero() {
			took = append(took, tookSnooze)
		}
	}
	for _, r := range a.Remedies {
		if r.State == InForce {
			took = append(took, tookRemedy+r.ID)
		}
	}
	if len(took) == 0 {
		return Conflict
	}
	t.record(a, ActRollback, Details{Text: cut(c.Text, MaxText), TakenBack: took}, func(a *Alert) {
		if a.Status != Resolved || reopen {
			a.Status, a.Resolution, a.ResolvedAt = Open, "", time.Time{}
			a.AcknowledgedAt, a.AcknowledgedBy, a.Assignee = time.Time{}, fleet.Actor{}, ""
			a.SnoozedUntil, a.CalledAt = time.Time{}, t.now
		}
		a.Remedies = slices.Clone(a.Remedies)
		for i := range a.Remedies {
			if a.Remedies[i].State == InForce {
				a.Remedies[i].State = Undoing
			}
		}
	})
	if reopen {
		t.s.watch(a)
	}
	t.undoing(t.get(a.ID))
	return Done
}

// missed records an alert that there should have been.
func (t *turn) missed(m *MissReported) {
	a := &Alert{ID: m.ID, Subject: m.Subject, Cause: m.Cause}
	if a.ID == "" {
		a.ID = t.s.uuid()
	}
	if t.get(a.ID) != nil {
		t.reply(Conflict, a.ID)
		return
	}
	text := cut(m.Text, MaxText)
	t.record(a, ActMark, Details{Text: text, To: m.Level, Mark: Missed, Resolution: Reported}, func(a *Alert) {
		a.Level, a.Status, a.Resolution, a.Mark, a.Count = m.Level, Resolved, Reported, Missed, 1
		a.OpenedAt, a.SeenAt, a.ResolvedAt, a.Message = m.From, m.From, later(m.From, m.To), cut(text, MaxMessage)
	})
	t.reply(Done, a.ID)
}

// applied notes what was done about an alert.
func (t *turn) applied(m *RemedyApplied) {
	id := m.Alert
	if id == "" {
		id = t.s.newest[key{m.Subject, m.Cause}]
	}
	a := t.get(id)
	switch {
	case a == nil || m.Alert == "" && a.Status == Resolved:
		t.reply(NotFound, id)
		return
	case slices.ContainsFunc(a.Remedies, func(r Remedy) bool { return r.ID == m.Remedy.ID }):
		t.reply(Done, id)
		return
	}
	kept := slices.Clone(a.Remedies)
	if len(kept) >= MaxRemedies {
		i := slices.IndexFunc(kept, func(r Remedy) bool { return r.State == Undone })
		if i < 0 {
			t.reply(Full, id)
			return
		}
		kept = slices.Delete(kept, i, i+1)
	}
	r := m.Remedy
	r.State, r.AppliedAt, r.UndoneAt = InForce, t.now, time.Time{}
	r.Label, r.Reason, r.Expected = cut(r.Label, MaxMessage), cut(r.Reason, MaxMessage), cut(r.Expected, MaxMessage)
	t.record(a, ActRemedy, Details{Text: r.Label, Remedy: r.ID}, func(a *Alert) { a.Remedies = append(kept, r) })
	t.reply(Done, id)
}

// with changes a remedy of an alert that is remembered; what nobody remembers is not known.
func (t *turn) with(id string, action Action, text string, change func(r *Remedy) bool) {
	for _, v := range t.s.sorted() {
		a := t.get(v.ID)
		i := slices.IndexFunc(a.Remedies, func(r Remedy) bool { return r.ID == id })
		if i < 0 {
			continue
		}
		r := a.Remedies[i]
		if change(&r) {
			t.record(a, action, Details{Text: cut(text, MaxText), Remedy: id}, func(a *Alert) {
				a.Remedies = slices.Clone(a.Remedies)
				a.Remedies[i] = r
			})
		}
		t.reply(Done, a.ID)
		return
	}
	t.reply(NotFound, "")
}

func (t *turn) measured(m *RemedyMeasured) {
	t.with(m.Remedy, ActMeasure, m.Measured, func(r *Remedy) bool {
		same := r.Measured == cut(m.Measured, MaxMessage)
		r.Measured = cut(m.Measured, MaxMessage)
		return !same
	})
}

func (t *turn) undone(m *RemedyUndone) {
	t.with(m.Remedy, ActUndo, m.Reason, func(r *Remedy) bool {
		if r.State == Undone {
			return false
		}
		r.State, r.UndoneAt = Undone, t.now
		return true
	})
	delete(t.s.undo, m.Remedy)
}

// cut shortens a text to n bytes at the border of a character, and leaves out what no store of text keeps.
func cut(s string, n int) string {
	clean := true
	for i := range len(s) {
		clean = clean && s[i] != 0
	}
	if len(s) <= n && clean && utf8.ValidString(s) {
		return s
	}
	out := make([]byte, 0, min(len(s), n))
	for _, r := range s {
		if r == 0 {
			continue
		}
		if len(out)+utf8.RuneLen(r) > n {
			break
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out)
}

// bounded returns details as any store can keep them: a JSON object of bounded size, or nil.
func bounded(d json.RawMessage) json.RawMessage {
	if len(d) == 0 || len(d) > MaxDetails || d[0] != '{' || !json.Valid(d) {
		return nil
	}
	return d
}
