package fact

import (
	"time"

	"starling/engine/alert"
	"starling/engine/fleet"
)

// Alert is an alert as clients list and read it. In a list its Handling is empty.
type Alert struct {
	Shard fleet.Shard
	alert.View
}

// AlertFilter narrows a list of alerts; zero values narrow nothing.
type AlertFilter struct {
	Warehouse fleet.WarehouseID
	Status    string      // wire name
	Open      bool        // all but the resolved ones
	MinLevel  alert.Level // this one and worse
	Level     alert.Level // this one alone
	Cause     alert.Cause
	Subject   alert.Subject // its ID alone where Type is ""
	Assignee  fleet.UserID
	From, To  time.Time // opened in [From, To)
}

// AlertRecord is what activation needs of a warehouse's alerts: the open ones, and those resolved lately that a signal
// may reopen. With their handling, oldest first.
type AlertRecord struct {
	Alerts []alert.View
}

// AlertMark is a person's verdict on an alert, for calibration.
type AlertMark struct {
	Shard    fleet.Shard
	Alert    alert.ID
	Subject  alert.Subject
	Cause    alert.Cause
	Level    alert.Level // the highest it has had
	Mark     alert.Mark
	OpenedAt time.Time
	Ended    time.Time // zero = it is open
	Text     string    // of the newest verdict
}
