package task

import (
	"bytes"
	"encoding/json"
)

// Requires lists the capabilities that the payload's member "requires" asks of a robot, nil = none. What is no list of
// texts asks for nothing: the door refuses it.
func (s *Spec) Requires() []string {
	if !bytes.Contains(s.Payload, []byte(`"requires"`)) {
		return nil
	}
	var p struct {
		Requires []string `json:"requires"`
	}
	if json.Unmarshal(s.Payload, &p) != nil {
		return nil
	}
	return p.Requires
}
