package postgres

import (
	"errors"
	"testing"
	"time"

	"starling/engine/fact"
)

// FuzzCursor reads cursors as clients may make them up: each is refused as such, or goes on in its own list and is given
// out again as it was read.
func FuzzCursor(f *testing.F) {
	f.Add(cursor{List: "robots", ID: firstID}.String())
	f.Add(cursor{List: "tasks", At: time.Unix(1, 0).UTC(), ID: lastID, N: 3}.String())
	f.Add("e30")
	f.Add("eyJsIjoicm9ib3RzIiwiaSI6Iic7IGRyb3AgdGFibGUgcm9ib3RzOy0tIn0")
	f.Add("not base64 !")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := from(fact.Page{Cursor: text}, "robots", cursor{ID: firstID})
		switch {
		case err != nil && !errors.Is(err, fact.ErrBadCursor):
			t.Fatalf("%q: %v", text, err)
		case err == nil && text != "" && (c.List != "robots" || !isUUID(c.ID)):
			t.Fatalf("%q goes on at %+v", text, c)
		case err == nil:
			again, err := from(fact.Page{Cursor: c.String()}, "robots", cursor{ID: firstID})
			if err != nil || again.ID != c.ID || again.N != c.N || !again.At.Equal(c.At) {
				t.Fatalf("%q is %+v, given out again %+v, %v", text, c, again, err)
			}
		}
	})
}
