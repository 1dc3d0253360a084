package rest

import (
	"starling/engine/fact"
	"starling/engine/task"
)

type costBody struct {
	Travel   float64 `json:"travel"`
	Queue    float64 `json:"queue"`
	Battery  float64 `json:"battery"`
	Priority float64 `json:"priority" doc:"less than 0: priority and age make it cheaper"`
	Deadline float64 `json:"deadline" doc:"less than 0: a deadline is near"`
	Total    float64 `json:"total"`
}

func costOf(c task.Cost) costBody {
	return costBody{c.Travel, c.Queue, c.Battery, c.Priority, c.Deadline, c.Total}
}

type alternativeBody struct {
	RobotID string  `json:"robot_id" format:"uuid"`
	Total   float64 `json:"total"`
	Reason  string  `json:"reason"`
}

// changeOfRobot says what a decision changed.
type changeOfRobot struct {
	Before  string   `json:"before" format:"uuid" doc:"the robot that had the task"`
	Because string   `json:"because" doc:"why it was taken from that one"`
	_       struct{} `nullable:"true"`
}

type decisionBody struct {
	DecisionID   string            `json:"decision_id" format:"uuid"`
	Kind         string            `json:"kind" enum:"award,reassignment,cycle"`
	DecidedAt    string            `json:"decided_at" format:"date-time"`
	TaskID       *string           `json:"task_id"`
	RobotID      *string           `json:"robot_id"`
	Cost         costBody          `json:"cost" doc:"in seconds"`
	Alternatives []alternativeBody `json:"alternatives"`
	Changed      *changeOfRobot    `json:"changed" doc:"of a reassignment"`
	Cycle        []string          `json:"cycle" doc:"robots of a deadlock that this decision broke"`
	Reason       string            `json:"reason"`
	InputsDigest string            `json:"inputs_digest"`
}

func decisionOf(d *fact.Decision) decisionBody {
	b := decisionBody{
		DecisionID: string(d.ID), Kind: "award", DecidedAt: ts(d.At), TaskID: text(d.Task), RobotID: text(d.Robot), Cost: costOf(d.Cost),
		Alternatives: alternativesOf(d.Alternatives), Cycle: []string{}, Reason: d.Reason, InputsDigest: d.InputsDigest,
	}
	switch {
	case d.Task == "":
		b.Kind = "cycle"
	case d.Before != "":
		b.Kind, b.Changed = "reassignment", &changeOfRobot{Before: string(d.Before), Because: d.Because}
	}
	for _, r := range d.Cycle {
		b.Cycle = append(b.Cycle, string(r))
	}
	return b
}

func alternativesOf(all []task.Alternative) []alternativeBody {
	out := []alternativeBody{}
	for _, x := range all {
		out = append(out, alternativeBody{string(x.Robot), x.Total, x.Reason})
	}
	return out
}

type stopBody struct {
	Vertex string `json:"vertex"`
	At     string `json:"at" format:"date-time"`
}

type plannedBody struct {
	Index         int               `json:"index"`
	RobotID       string            `json:"robot_id" format:"uuid"`
	Route         []stopBody        `json:"route" doc:"with the traffic of now, turns not counted"`
	ExpectedWaitS float64           `json:"expected_wait_s" doc:"what that traffic costs on the way"`
	Cost          costBody          `json:"cost" doc:"in seconds"`
	Alternatives  []alternativeBody `json:"alternatives" doc:"the next best robots"`
	Reason        string            `json:"reason"`
}

type unplannedBody struct {
	Index  int    `json:"index"`
	Reason string `json:"reason"`
}

type planBody struct {
	Assignments []plannedBody   `json:"assignments"`
	Unassigned  []unplannedBody `json:"unassigned"`
}
