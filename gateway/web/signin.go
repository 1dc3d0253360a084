package web

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Issuer is a service that signs people in.
type Issuer struct {
	Issuer   string `json:"issuer"`    // as in its discovery document and its tokens
	ClientID string `json:"client_id"` // as whom the page asks; public, so there is no secret
	Name     string `json:"name"`      // what the button says; "" = the issuer's host
}

// Options says how people sign in.
type Options struct {
	// Development: this process issues tokens itself.
	Development bool
	Issuers     []Issuer
}

// signInPath is the page's file that says where to sign in. It holds nothing that a stranger may not know.
const signInPath = "/session.json"

// How the page signs people in.
const (
	modeDev  = "dev"
	modeOIDC = "oidc"
)

// signIn makes that file.
func (o Options) signIn() (*file, error) {
	body := struct {
		Mode    string   `json:"mode"`
		Issuers []Issuer `json:"issuers"`
	}{Mode: modeOIDC, Issuers: []Issuer{}}
	if o.Development {
		body.Mode = modeDev
	}
	for _, i := range o.Issuers {
		u, err := url.Parse(i.Issuer)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("sign-in at %q: want a URL", i.Issuer)
		}
		i.Name = cmp.Or(i.Name, u.Host)
		body.Issuers = append(body.Issuers, i)
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", signInPath, err)
	}
	return newFile(signInPath, b), nil
}

// policy lets the page load what comes from here and nothing else, and talk to nobody but this server and the issuers: by fetch
// for tokens, by a form when somebody signs out, so that no token stands in an address.
func (o Options) policy() string {
	var issuers []string
	for _, i := range o.Issuers {
		if u, err := url.Parse(i.Issuer); err == nil && u.Host != "" {
			issuers = append(issuers, u.Scheme+"://"+u.Host)
		}
	}
	slices.Sort(issuers)
	self := strings.Join(append([]string{"'self'"}, slices.Compact(issuers)...), " ")
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src " + self +
		"; form-action " + self + "; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
}
