package authtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Case is a row of testdata/tokens/cases.json: a good token, and what is wrong with it. testdata/tokens/README.md says
// what the members mean.
type Case struct {
	Name      string
	Good      bool   // a control: it is taken
	Reason    string // why auth.Verifier refuses it; "" of a good one
	Key       string // that signs, "rsa" by itself
	Alg       string // of the header, "RS256" by itself
	Sign      string // how it is really signed, "" = as Alg says
	Header    map[string]any
	Claims    map[string]any
	RawHeader string `json:"raw_header"`
	RawClaims string `json:"raw_claims"`
	Fill      int    // bytes of a claim that fills the token
	Deep      int    // lists in one another, in a claim
	Edit      string // what is done to the finished token
}

// Cases reads the table.
func Cases(t testing.TB, path string) []Case {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cases []Case
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&cases); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return cases
}

// Tenant is the one that good tokens name.
const Tenant = "11111111-1111-4111-8111-111111111111"

// Good returns a good token of a role, with more claims; null takes one away.
func (i *Issuer) Good(t testing.TB, claims map[string]any) string {
	t.Helper()
	return i.Token(t, Case{Name: "good", Claims: claims})
}

// Token makes the token of a case.
func (i *Issuer) Token(t testing.TB, c Case) string {
	t.Helper()
	now := time.Now()
	header := map[string]any{"alg": or(c.Alg, "RS256"), "kid": or(c.Key, "rsa"), "typ": "JWT"}
	claims := map[string]any{
		"iss": i.URL, "aud": Audience, "sub": "somebody", "iat": now.Unix() - 60, "exp": now.Unix() + 3600,
		"roles": []string{"viewer"}, "tenant_id": Tenant,
	}
	merge(header, c.Header)
	merge(claims, c.Claims)
	if c.Fill > 0 {
		claims["fill"] = strings.Repeat("x", c.Fill)
	}
	h, p := text(t, header), text(t, claims)
	if c.Deep > 0 {
		p = p[:len(p)-1] + `,"deep":` + strings.Repeat("[", c.Deep) + strings.Repeat("]", c.Deep) + "}"
	}
	h, p = or(c.RawHeader, h), or(c.RawClaims, p)
	h, p = i.fill(h, now), i.fill(p, now)
	input := b64([]byte(h)) + "." + b64([]byte(p))
	s, err := i.sign(or(c.Sign, or(c.Alg, "RS256")), or(c.Key, "rsa"), []byte(input))
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	return edit(t, c.Edit, h, p, input+"."+b64(s))
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func merge(into, more map[string]any) {
	maps.Copy(into, more)
	maps.DeleteFunc(into, func(_ string, v any) bool { return v == nil })
}

func text(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// fill replaces "$now+60" by a time, and $iss by the issuer.
func (i *Issuer) fill(s string, now time.Time) string {
	s = regexp.MustCompile(`"?\$now([+-][0-9]+)"?`).ReplaceAllStringFunc(s, func(m string) string {
		n, _ := strconv.ParseInt(strings.Trim(m, `"`)[4:], 10, 64)
		return strconv.FormatInt(now.Unix()+n, 10)
	})
	return strings.ReplaceAll(s, "$iss", i.URL)
}

// edit does something to a finished token.
func edit(t testing.TB, how, h, p, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	const last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	switch how {
	case "":
	case "header changed":
		parts[0] = b64([]byte(strings.Replace(h, `"typ":"JWT"`, `"typ":"jwt"`, 1)))
	case "claims changed":
		parts[1] = b64([]byte(strings.Replace(p, `"viewer"`, `"admin"`, 1)))
	case "signature changed":
		parts[2] = swap(parts[2])
	case "signature of another":
		parts[2] = strings.Repeat("A", len(parts[2]))
	case "cut off":
		return token[:len(token)-22]
	case "no signature":
		parts[2] = ""
	case "two parts", "four parts", "five parts":
		n := map[string]int{"two parts": 2, "four parts": 4, "five parts": 5}[how]
		parts = append(parts, "AAAA", "AAAA")[:n]
	case "padded":
		return parts[0] + "." + parts[1] + "." + parts[2] + "=="
	case "a blank inside":
		return token[:40] + " " + token[40:]
	case "a line end inside":
		return token[:40] + "\n" + token[40:]
	case "a line end behind":
		return token + "\n"
	case "a NUL inside":
		return token[:40] + "\x00" + token[40:]
	case "a letter of another script":
		return strings.Replace(token, "e", "е", 1)
	case "standard base64":
		return strings.NewReplacer("-", "+", "_", "/").Replace(token) + "+/"
	case "stray bits":
		end := strings.IndexByte(last, parts[2][len(parts[2])-1])
		parts[2] = parts[2][:len(parts[2])-1] + string(last[end|1])
	case "twice with a comma":
		return token + "," + token
	case "as JSON":
		return fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, parts[1], parts[0], parts[2])
	case "as JSON of many":
		return fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, parts[1], parts[0], parts[2])
	case "empty":
		return ""
	default:
		t.Fatalf("no such edit: %s", how)
	}
	return strings.Join(parts, ".")
}

// swap changes a character in the middle.
func swap(s string) string {
	c := byte('A')
	if s[len(s)/2] == 'A' {
		c = 'B'
	}
	return s[:len(s)/2] + string(c) + s[len(s)/2+1:]
}
