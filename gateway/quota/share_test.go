package quota

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"starling/engine/fleet"
)

func TestSharesLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.IntRange(1, 60).Draw(t, "total")
		s := NewShare(total)
		leave := map[fleet.TenantID][]func(){}
		held := func() (n int) {
			for _, l := range leave {
				n += len(l)
			}
			return n
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			id := fleet.TenantID(fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "tenant")))
			mine := leave[id]
			if len(mine) > 0 && rapid.IntRange(0, 2).Draw(t, "leave") == 0 {
				mine[0]()
				leave[id] = mine[1:]
				continue
			}
			before := held()
			l, ok := s.Enter(id)
			if want := len(mine) < total-before; ok != want {
				t.Fatalf("a tenant that holds %d of %d, with %d in use: entered %v", len(mine), total, before, ok)
			}
			if len(mine) == 0 && before < total && !ok {
				t.Fatal("one that holds nothing finds no place although there are free ones")
			}
			if ok {
				leave[id] = append(mine, l)
			}
			if held() > total {
				t.Fatalf("%d places of %d are held", held(), total)
			}
		}
	})
}

func TestOneTenantComesToHalf(t *testing.T) {
	t.Parallel()
	s := NewShare(2000)
	n := 0
	for {
		if _, ok := s.Enter("noisy"); !ok {
			break
		}
		n++
	}
	if n != 1000 {
		t.Fatalf("a tenant alone holds %d of 2000", n)
	}
	for i := range 300 {
		if _, ok := s.Enter("quiet"); !ok {
			t.Fatalf("the other one finds no place after %d", i)
		}
	}
}
