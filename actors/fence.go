package actors

import (
	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/task"
)

// fencing is a trade whose records bear the tokens of the locks under which they were decided: the journal refuses what was
// decided before somebody else held the lock, however late it comes.
type fencing[E any] interface {
	fences(events []E) []fact.Fence
}

// under decides with the tokens that the locks have before the batch looks at anything, and gives them to what it offers
// and recalls.
func (w *warehouseShell) under(had int, decide func() []dispatch.Effect) []dispatch.Effect {
	token := w.box.sys.Token
	if token == nil {
		return decide()
	}
	award, recall := token(w.box.sh.id, fact.LockDispatch), token(w.box.sh.id, fact.LockReplan)
	out := decide()
	for i, f := range out[had:] {
		switch f := f.(type) { // the others are decided under no lock
		case dispatch.Offer:
			f.Token = award
			out[had+i] = f
		case dispatch.Recall:
			f.Token = recall
			out[had+i] = f
		}
	}
	return out
}

// tokens are those under which a task is given to a robot, or taken from it: they stand from the decision on, not from the
// recording.
type tokens struct {
	award  int64 // of the offer that is being decided
	recall int64 // of the recall that its robot has yet to confirm
	replan int64 // of what is being decided
}

// takeTokens takes those of a message that is about to be decided.
func (t *taskShell) takeTokens(m task.Msg) {
	token := t.box.sys.Token
	if token == nil {
		return
	}
	t.under.replan = token(t.box.sh.id, fact.LockReplan)
	switch m := m.(type) { // the others bear none
	case task.AwardOffered:
		t.under.award = m.Token
	case task.RecallRequested:
		t.under.recall = m.Token
	case task.RobotLetGo:
		t.under.replan = t.under.recall
	}
}

// fences implements fencing.
func (t *taskShell) fences(events []task.Event) (all []fact.Fence) {
	if t.box.sys.Token == nil {
		return nil
	}
	for _, e := range events {
		switch e.(type) { // the others are decided under no lock
		case task.Assigned:
			all = append(all, fact.Fence{Lock: fact.LockDispatch, Token: t.under.award})
		case task.Unassigned:
			all = append(all, fact.Fence{Lock: fact.LockReplan, Token: t.under.replan})
		}
	}
	return all
}

var _ fencing[task.Event] = (*taskShell)(nil)
