package alert

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"starling/engine/congestion"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/zone"
)

func TestWhatIsWrongWithRobots(t *testing.T) {
	t.Parallel()
	well := func() *robot.View {
		return &robot.View{
			ID: "r1", Spec: &robot.Spec{Code: "amr-1"}, Connection: fleet.Online, State: fleet.Moving, Battery: 0.8, Task: "t1", Zone: "z1",
			ReportedAt: start, ReceivedAt: start, Since: start,
		}
	}
	waits := func(v *robot.View, d time.Duration) {
		v.Waiting = fleet.Wait{Cause: fleet.CauseOccupied, Tasked: true, Since: start.Add(-d), Holder: "r2"}
	}
	for name, c := range map[string]struct {
		change func(v *robot.View)
		cause  Cause
		level  Level
	}{
		"one that drives is well":             {func(*robot.View) {}, "", NoLevel},
		"one that was never seen is not lost": {func(v *robot.View) { v.Connection, v.Battery = fleet.NeverSeen, 0.01 }, "", NoLevel},
		"lost without a task":                 {func(v *robot.View) { v.Connection, v.Task = fleet.Offline, "" }, RobotLost, L1},
		"lost with a task":                    {func(v *robot.View) { v.Connection = fleet.Offline }, RobotLost, L2},
		"lost with a task, for long":          {func(v *robot.View) { v.Connection, v.ReceivedAt = fleet.Offline, start.Add(-LostL3) }, RobotLost, L3},
		"lost where it waits":                 {func(v *robot.View) { waits(v, StuckL3); v.Connection = fleet.Offline }, RobotLost, L2},
		"stale is not lost":                   {func(v *robot.View) { v.Connection = fleet.Stale }, "", NoLevel},
		"waits a little":                      {func(v *robot.View) { waits(v, StuckL1-time.Second) }, "", NoLevel},
		"waits":                               {func(v *robot.View) { waits(v, StuckL1) }, RobotStuck, L1},
		"waits for minutes":                   {func(v *robot.View) { waits(v, StuckL2) }, RobotStuck, L2},
		"waits for long":                      {func(v *robot.View) { waits(v, StuckL3) }, RobotStuck, L3},
		"waits without a task":                {func(v *robot.View) { waits(v, StuckL3); v.Waiting.Tasked = false }, "", NoLevel},
		"paused by people":                    {func(v *robot.View) { waits(v, StuckL3); v.State = fleet.Paused }, "", NoLevel},
		"reports an error":                    {func(v *robot.View) { v.State = fleet.Error }, RobotFault, L2},
		"reports a fatal fault while it waits": {func(v *robot.View) {
			waits(v, StuckL3)
			v.Errors = []fleet.RobotError{{Code: "E7", Level: fleet.LevelFatal}}
		}, RobotFault, L2},
		"a warning is none":                     {func(v *robot.View) { v.Errors = []fleet.RobotError{{Code: "W", Level: fleet.LevelWarning}} }, "", NoLevel},
		"battery low":                           {func(v *robot.View) { v.Battery = BatteryL1 - 0.01 }, LowBattery, L1},
		"battery low and it is sent to charge":  {func(v *robot.View) { v.Battery, v.Move.Kind = BatteryL1-0.01, robot.MoveCharge }, "", NoLevel},
		"battery very low on the way to charge": {func(v *robot.View) { v.Battery, v.Move.Kind = BatteryL2-0.01, robot.MoveCharge }, LowBattery, L2},
		"battery nearly empty":                  {func(v *robot.View) { v.Battery = BatteryL3 - 0.01 }, LowBattery, L3},
		"battery nearly empty and it charges":   {func(v *robot.View) { v.Battery, v.State = 0.01, fleet.Charging }, "", NoLevel},
		"reports no battery":                    {func(v *robot.View) { v.Battery = 0 }, "", NoLevel},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := well()
			c.change(v)
			got := OfRobot(start, v, nil)
			if c.level == NoLevel {
				if len(got) != 0 {
					t.Fatalf("it is said to be %+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Cause != c.cause || got[0].Level != c.level || got[0].Subject != (Subject{SubjectRobot, "r1"}) {
				t.Fatalf("it is said to be %+v, want %s %s", got, c.cause, c.level)
			}
			if !strings.HasPrefix(got[0].Message, "robot amr-1 ") || bounded(got[0].Details) == nil {
				t.Fatalf("it is told as %q with %s", got[0].Message, got[0].Details)
			}
		})
	}
}

func TestALostRobotsBatteryIsStillLow(t *testing.T) {
	t.Parallel()
	got := OfRobot(start, &robot.View{
		ID: "r1", Spec: &robot.Spec{Code: "amr-1"}, Connection: fleet.Offline, Battery: 0.05, ReportedAt: start, ReceivedAt: start,
	}, nil)
	if len(got) != 2 || got[0].Cause != RobotLost || got[1].Cause != LowBattery || got[1].Level != L3 {
		t.Fatalf("it is said to be %+v", got)
	}
}

func TestWhatIsWrongWithZonesScoresLettersAndStores(t *testing.T) {
	t.Parallel()
	z := &zone.View{Zone: "z1", Suspects: []fleet.Vertex{3, 4}}
	if got := OfZone(start, &zone.View{Zone: "z1"}, nil); len(got) != 0 {
		t.Fatalf("a zone without suspects: %+v", got)
	}
	level := func() Level { return OfZone(start, z, nil)[0].Level }
	if level() != L1 {
		t.Fatal("suspects that nobody waits for")
	}
	z.Waits = []fleet.Wait{{Cause: fleet.CauseSuspect, Tasked: true, Since: start.Add(-time.Minute), Holder: "r9"}}
	if level() != L2 {
		t.Fatal("suspects that a robot waits for")
	}
	z.Waits[0].Since = start.Add(-suspectL3)
	if level() != L3 {
		t.Fatal("suspects that a robot waits for, for long")
	}
	got := OfScore(&congestion.Score{Subject: congestion.Subject{Of: congestion.OfLane, ID: "l1"}, Level: 2, Index: 0.4712, Queue: 3, Occupancy: 5}, "A to B", nil)
	var figures map[string]float64
	if err := json.Unmarshal(got[0].Details, &figures); err != nil {
		t.Fatal(err)
	}
	if got[0].Subject != (Subject{SubjectLane, "l1"}) || got[0].Level != L2 || got[0].Cause != Congestion || figures["congestion_index"] != 0.471 || figures["queue_length"] != 3 {
		t.Fatalf("a lane that jams: %+v %s", got[0], got[0].Details)
	}
	if got := OfScore(&congestion.Score{}, "", nil); len(got) != 0 {
		t.Fatalf("a free lane: %+v", got)
	}
	if got := OfLetters("task.events", lettersL3, start, OfLetters("alerts", 1, start, OfLetters("x", 0, start, nil))); len(got) != 2 || got[0].Level != L2 || got[1].Level != L3 {
		t.Fatalf("dead letters: %+v", got)
	}
	if got := OfStore("postgres", true, OfStore("kafka", false, nil)); len(got) != 2 || got[0].Level != L2 || got[1].Level != L3 || got[1].Subject.ID != "postgres" {
		t.Fatalf("servers: %+v", got)
	}
}
