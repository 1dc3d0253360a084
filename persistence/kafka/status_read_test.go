package kafka_test

import (
	"errors"
	"reflect"
	"testing"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/persistence/kafka"
)

// What is written of a status is read as it was, but for the pace.
func TestAStatusIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	bare := measured(2)
	bare.Vertex, bare.Located, bare.Pose, bare.Task = fleet.NoVertex, false, fleet.Pose{}, ""
	waits := measured(3)
	waits.State, waits.WaitingFor, waits.WaitingOn = fleet.Waiting, fleet.CauseAdmission, "77777777-7777-4777-8777-777777777777"
	waits.Lane, waits.GoalZone = "88888888-8888-5888-8888-888888888888", "99999999-9999-4999-8999-999999999999"
	waits.Errors = []fleet.RobotError{{Code: "E", Level: fleet.LevelFatal, Message: "no"}}
	for _, want := range []fact.Status{measured(1), bare, waits} {
		m := kafka.Message{Value: kafka.EncodeStatuses([]fact.Status{want})}
		got, err := kafka.Status(&m)
		if err != nil {
			t.Fatal(err)
		}
		want.Pace = robot.PaceIdle
		if !reflect.DeepEqual(got, want) {
			t.Errorf("read  %+v\nwrote %+v", got, want)
		}
	}
	if _, err := kafka.Status(&kafka.Message{}); !errors.Is(err, kafka.ErrNoStatus) {
		t.Errorf("nothing is a status: %v", err)
	}
	if _, err := kafka.Status(&kafka.Message{Value: []byte{1}}); err == nil || errors.Is(err, kafka.ErrNoStatus) {
		t.Errorf("rubbish is a status: %v", err)
	}
}
