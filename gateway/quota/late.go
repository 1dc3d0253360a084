package quota

import (
	"encoding/json"
	"time"
)

// settingTasks names the settings of what becomes of tasks.
const settingTasks = "tasks"

// maxLate bounds how long after its deadline a task may be cancelled; minLate keeps a slow minute from cancelling tasks.
const (
	minLate = 60
	maxLate = 30 * 24 * 3600
)

// CancelLate is how long after its deadline a task of the tenant is cancelled that has not ended; 0 = never, as is usual: it
// only becomes more urgent.
func (s *Settings) CancelLate() time.Duration { return s.cancelLate }

// tasks checks them, or reads them where nobody complains.
func (c *checker) tasks(raw json.RawMessage) (late time.Duration) {
	var doc map[string]json.RawMessage
	if json.Unmarshal(raw, &doc) != nil || doc == nil {
		c.add(settingTasks, "want an object")
		return 0
	}
	for name, value := range doc {
		if name != "cancel_late_after_s" {
			c.add(settingTasks+"."+bounded(name), "there is no such setting")
			continue
		}
		if isNull(value) {
			continue
		}
		n, ok := number(value)
		if !ok || n < minLate || n > maxLate {
			c.add(settingTasks+"."+name, "want a whole number %d..%d", minLate, maxLate)
			continue
		}
		late = time.Duration(n) * time.Second
	}
	return late
}
