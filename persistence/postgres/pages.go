package postgres

import (
	"cmp"
	"slices"
	"strings"

	"starling/engine/fact"
	"starling/engine/robot"
	"starling/engine/task"
)

// PageRobots makes, of robots that are held elsewhere, the page that ListRobots makes of rows: the same filter, order and
// cursors, so that a client that reads page by page does not notice who answers. Codes are ordered by their bytes, as a
// database of locale C does.
func PageRobots(all []*robot.View, f fact.RobotFilter, p fact.Page) (fact.List[*robot.View], error) {
	c, err := from(p, "robots", cursor{})
	if err != nil {
		return fact.List[*robot.View]{Items: []*robot.View{}}, err
	}
	rows := make([]*robot.View, 0, len(all))
	for _, v := range all {
		s := v.Spec
		if s != nil && s.Code > c.ID && (f.Warehouse == "" || s.Warehouse == f.Warehouse) && (f.Fleet == "" || s.Fleet == f.Fleet) && (f.Code == "" || s.Code == f.Code) {
			rows = append(rows, v)
		}
	}
	slices.SortFunc(rows, func(a, b *robot.View) int { return strings.Compare(a.Spec.Code, b.Spec.Code) })
	rows = rows[:min(len(rows), int(size(p)))]
	return page(p, rows, func(v **robot.View) (*robot.View, error) { return *v, nil }, func(v **robot.View) cursor { return cursor{ID: (*v).Spec.Code} }, "robots")
}

// PageTasks is PageRobots for tasks and ListTasks.
func PageTasks(all []*task.View, f fact.TaskFilter, p fact.Page) (fact.List[task.View], error) {
	c, err := from(p, "tasks", newest())
	if err != nil {
		return fact.List[task.View]{Items: []task.View{}}, err
	}
	rows := make([]*task.View, 0, len(all))
	for _, v := range all {
		s := &v.Spec
		before := s.CreatedAt.Before(c.At) || s.CreatedAt.Equal(c.At) && string(s.ID) < c.ID
		if before && s.CreatedAt.After(f.CreatedAfter) && (f.Status == "" || v.Status.String() == f.Status) && (f.Type == "" || s.Type.String() == f.Type) &&
			(f.Warehouse == "" || s.Shard.Warehouse == f.Warehouse) && (f.Robot == "" || v.Robot == f.Robot) && (f.Source == "" || s.Source == f.Source) {
			rows = append(rows, v)
		}
	}
	slices.SortFunc(rows, func(a, b *task.View) int {
		return cmp.Or(b.Spec.CreatedAt.Compare(a.Spec.CreatedAt), strings.Compare(string(b.Spec.ID), string(a.Spec.ID)))
	})
	rows = rows[:min(len(rows), int(size(p)))]
	return page(p, rows, func(v **task.View) (task.View, error) { return **v, nil },
		func(v **task.View) cursor { return cursor{At: (*v).Spec.CreatedAt, ID: string((*v).Spec.ID)} }, "tasks")
}
