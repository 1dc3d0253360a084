package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// The bounds of what stands in a token, besides maxToken.
const (
	maxKid   = 256 // bytes of a key's id
	maxDepth = 16  // of objects and lists in one another
)

// parsed is a compact JWS taken apart, nothing of it checked yet.
type parsed struct {
	header, claims map[string]any
	signing        []byte // what was signed
	signature      []byte
}

// parse takes a token apart: three parts in base64url without padding, blanks or stray bits; header and claims are JSON
// objects in which no member comes twice. Other forms of JWS (as JSON, with several signatures) and JWE are refused.
func parse(token string) (*parsed, string) {
	if token == "" || len(token) > maxToken {
		return nil, reasonSize
	}
	for i := range len(token) {
		if !compact(token[i]) {
			return nil, reasonForm
		}
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, reasonForm
	}
	strict := base64.RawURLEncoding.Strict()
	var raw [3][]byte
	for i, part := range parts {
		b, err := strict.DecodeString(part)
		if err != nil || len(b) == 0 {
			return nil, reasonForm
		}
		raw[i] = b
	}
	p := &parsed{signing: []byte(token[:len(parts[0])+1+len(parts[1])]), signature: raw[2]}
	var err error
	if p.header, err = object(raw[0]); err != nil {
		return nil, reasonForm
	}
	if p.claims, err = object(raw[1]); err != nil {
		return nil, reasonForm
	}
	return p, ""
}

// refusedHeaders are members of a header that would make the check depend on the token itself, or the token something else
// than signed JSON claims: a key or a place to fetch one from, critical extensions, compression, encryption, nesting.
func refusedHeaders() []string {
	return []string{"crit", "jku", "jwk", "x5u", "x5c", "zip", "b64", "cty", "enc", "epk", "apu", "apv", "p2s", "p2c", "iv", "tag"}
}

// head reads algorithm and key id of a header.
func (p *parsed) head() (alg, kid, reason string) {
	for _, name := range refusedHeaders() {
		if _, there := p.header[name]; there {
			return "", "", reasonHeader
		}
	}
	if typ, there := p.header["typ"]; there {
		s, _ := typ.(string)
		switch strings.ToLower(s) {
		case "jwt", "at+jwt", "application/jwt", "application/at+jwt":
		default:
			return "", "", reasonType
		}
	}
	alg, _ = p.header["alg"].(string)
	if !usable(alg) {
		return "", "", reasonAlgorithm
	}
	kid, _ = p.header["kid"].(string)
	if kid == "" || len(kid) > maxKid || strings.ContainsFunc(kid, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", "", reasonKeyID
	}
	return alg, kid, ""
}

var errNotStrict = errors.New("not one JSON object without repetitions")

// object reads one JSON object, strictly: valid UTF-8, no member twice at any depth (the last would win here, the first
// elsewhere), nothing behind it. Numbers stay as they are written.
func object(b []byte) (map[string]any, error) {
	if !utf8.Valid(b) || !json.Valid(b) {
		return nil, errNotStrict
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	v, err := value(dec, 0)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if _, err := dec.Token(); !ok || !errors.Is(err, io.EOF) {
		return nil, errNotStrict
	}
	return m, nil
}

func value(dec *json.Decoder, depth int) (any, error) {
	t, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("read a token's JSON: %w", err)
	}
	open, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth >= maxDepth {
		return nil, errNotStrict
	}
	if open == '[' {
		list := []any{}
		for dec.More() {
			v, err := value(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = dec.Token()
		return list, err
	}
	m := map[string]any{}
	for dec.More() {
		k, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("read a token's JSON: %w", err)
		}
		name, _ := k.(string)
		if _, twice := m[name]; twice {
			return nil, errNotStrict
		}
		if m[name], err = value(dec, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = dec.Token()
	return m, err
}

// seconds reads a time of the claims: seconds since 1970, of which a fraction (RFC 7519 allows one) is passed over. there
// says whether the claim is there.
func seconds(c map[string]any, name string) (at int64, there, ok bool) {
	v, there := c[name]
	if !there {
		return 0, false, true
	}
	n, isNumber := v.(json.Number)
	f, err := n.Float64()
	if !isNumber || err != nil || f < 0 || f >= 1e11 {
		return 0, true, false
	}
	return int64(f), true, true
}

// text reads a claim that is a string, if it is there at all (or null).
func text(c map[string]any, name string, longest int) (s string, ok bool) {
	v := c[name]
	if v == nil {
		return "", true
	}
	s, ok = v.(string)
	return s, ok && len(s) <= longest && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// shown reads a claim that is only shown to people: what is too long or cannot be shown is cut away, not refused.
func shown(c map[string]any, name string) (s string, ok bool) {
	v := c[name]
	if v == nil {
		return "", true
	}
	s, ok = v.(string)
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return s, ok
}
