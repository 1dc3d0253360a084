package rest

import (
	"fmt"
	"testing"
)

func TestAnOverviewListsTheWorstOfEachKind(t *testing.T) {
	t.Parallel()
	var sorted []attentionBody
	for i := range 250 {
		sorted = append(sorted, attentionBody{Kind: "unavailable", Cause: fmt.Sprint(i)})
	}
	sorted = append(sorted, attentionBody{Kind: "late"}, attentionBody{Kind: "late"})
	l := attentionOf(sorted)
	if l.Total != 252 || l.Kinds["unavailable"] != 250 || l.Kinds["late"] != 2 || l.Kinds["stuck"] != 0 {
		t.Errorf("counted %d: %v", l.Total, l.Kinds)
	}
	if len(l.Items) != 102 || l.Items[99].Cause != "99" || l.Items[100].Kind != "late" {
		t.Errorf("listed %d items", len(l.Items))
	}
}
