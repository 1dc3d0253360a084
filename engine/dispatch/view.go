package dispatch

import (
	"time"

	"starling/engine/fleet"
)

// View is what others may see of a warehouse's dispatcher.
type View struct {
	At         time.Time
	MapID      fleet.MapID
	MapVersion int
	OpenTasks  int
	FreeRobots int
	TaskWaits  []TaskWait        // open tasks that could not be awarded in the last batch, oldest first, at most 1,000
	Waits      []fleet.Wait      // of all zones, by robot id
	Cycles     [][]fleet.RobotID // cycles standing now
	Charging   Charging          // the rules of batteries in force
	Policy     Policy            // by which tasks are matched
	Active     int               // how many robots may hold tasks at once, as LimitActive has it
}

// TaskWait says why a task has no robot.
type TaskWait struct {
	Task   fleet.TaskID
	Cause  fleet.Cause
	Since  time.Time
	Detail string // with numbers, "" = none
}
