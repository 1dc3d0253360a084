package postgres

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// cursor is where a list goes on. It is given out as opaque text; List tells lists apart, so that the cursor of one is
// no cursor of another.
type cursor struct {
	List string    `json:"l"`
	At   time.Time `json:"t,omitzero"`
	ID   string    `json:"i,omitempty"`
	N    int64     `json:"n,omitempty"`
}

const (
	firstID = "00000000-0000-0000-0000-000000000000"
	lastID  = "ffffffff-ffff-ffff-ffff-ffffffffffff"
	maxPage = 500
)

// from reads a page's cursor; start is used where there is none.
func from(p fact.Page, list string, start cursor) (cursor, error) {
	if p.Cursor == "" {
		start.List = list
		return start, nil
	}
	var c cursor
	raw, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil || c.List != list || start.ID != "" && len(start.ID) == len(firstID) && !isUUID(c.ID) {
		return cursor{}, fmt.Errorf("list %s: %w", list, fact.ErrBadCursor)
	}
	return c, nil
}

// newest is where lists that begin with the newest row start.
func newest() cursor { return cursor{At: fleet.Far, ID: lastID} }

func (c cursor) String() string {
	raw, err := json.Marshal(c)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// size is how many rows are read: one more than asked for says whether there is a next page.
func size(p fact.Page) int32 { return int32(max(1, min(p.Limit, maxPage))) + 1 }

// page makes a page of rows that were read with size.
func page[R, T any](p fact.Page, rows []R, item func(*R) (T, error), next func(*R) cursor, list string) (fact.List[T], error) {
	out := fact.List[T]{Items: []T{}}
	more := len(rows) >= int(size(p))
	if more {
		rows = rows[:size(p)-1]
	}
	for i := range rows {
		it, err := item(&rows[i])
		if err != nil {
			return fact.List[T]{}, err
		}
		out.Items = append(out.Items, it)
	}
	if more {
		c := next(&rows[len(rows)-1])
		c.List = list
		out.Next = c.String()
	}
	return out, nil
}
