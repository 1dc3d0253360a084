package roadmap

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// source is the format "starling". What the API shows of a version can be uploaded again: a lane's id and a vertex's index
// are read and given anew.
type source struct {
	Vertices []sourceVertex
	Lanes    []sourceLane
	Zones    []sourceZone
}

type sourceVertex struct {
	ID       string   `json:"id"`
	Index    int      `json:"index"`
	Name     string   `json:"name"`
	X        *float64 `json:"x"`
	Y        *float64 `json:"y"`
	Parking  bool     `json:"parking"`
	Charging bool     `json:"charging"`
}

type sourceLane struct {
	ID            string  `json:"id"`
	From          string  `json:"from"`
	To            string  `json:"to"`
	LengthM       float64 `json:"length_m"`
	SpeedMPS      float64 `json:"speed_limit_mps"`
	Bidirectional bool    `json:"bidirectional"`
	Closed        bool    `json:"closed"`
}

type sourceZone struct {
	ID      string          `json:"id"`
	Name    string          `json:"name"`
	Polygon json.RawMessage `json:"polygon"`
}

var errTooMany = errors.New("too many")

// readSource reads the whole of a source, or says why it cannot. It reads one vertex, lane and zone at a time and no more
// of them than there may be: 64 MiB have room for twenty million empty ones.
func readSource(content []byte, r *notes) (*source, bool) {
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.DisallowUnknownFields()
	var src source
	if at, err := src.read(dec); err != nil {
		code := CodeUnreadable
		if errors.Is(err, errTooMany) {
			code = CodeTooLarge
		}
		r.fail(code, nil, nil, "%s%s", at, jsonProblem(err, dec.InputOffset()))
		return nil, false
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		r.fail(CodeUnreadable, nil, nil, "more than one JSON value")
		return nil, false
	}
	return &src, true
}

// read returns what went wrong, and the place of it in the source.
func (s *source) read(dec *json.Decoder) (at string, err error) {
	switch t, err := dec.Token(); {
	case err != nil:
		return "", err
	case t != json.Delim('{'):
		return "", errors.New("not a JSON map of vertices and lanes")
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return "", err
		}
		key := strings.ToLower(t.(string)) //nolint:forcetypeassert // the keys of an object are strings
		if seen[key] {
			return key + ": ", errors.New("appears more than once")
		}
		seen[key] = true
		switch key {
		case "vertices":
			s.Vertices, at, err = readList[sourceVertex](dec, key, maxVertices)
		case "lanes":
			s.Lanes, at, err = readList[sourceLane](dec, key, 2*maxVertices)
		case "zones":
			s.Zones, at, err = readList[sourceZone](dec, key, MaxZones)
		default:
			return "", errors.New("unknown field; want vertices, lanes and zones")
		}
		if err != nil {
			return at, err
		}
	}
	_, err = dec.Token()
	return "", err
}

func readList[T any](dec *json.Decoder, key string, most int) (list []T, at string, err error) {
	t, err := dec.Token()
	if err != nil || t == nil { // null is an empty list
		return nil, "", err
	}
	if t != json.Delim('[') {
		return nil, key + ": ", errors.New("want a list")
	}
	for dec.More() {
		if len(list) == most {
			return nil, key + ": ", fmt.Errorf("%w, at most %d are taken", errTooMany, most)
		}
		var one T
		if err := dec.Decode(&one); err != nil {
			return nil, fmt.Sprintf("%s[%d]: ", key, len(list)), err
		}
		list = append(list, one)
	}
	_, err = dec.Token()
	return list, "", err
}

// jsonProblem says where a JSON source is wrong, having been read so far, without repeating it.
func jsonProblem(err error, read int64) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("not JSON after byte %d", read)
	case errors.As(err, &kind) && kind.Field != "":
		return fmt.Sprintf("%s: want %s", kind.Field, kind.Type)
	case errors.As(err, &kind):
		return "want an object"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "not JSON, it ends too early"
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}
