package auth_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"starling/gateway/auth"
	"starling/gateway/auth/authtest"
)

func TestNoTokenOfTheTableIsTakenButTheGoodOnes(t *testing.T) {
	i := authtest.New(t)
	var log bytes.Buffer
	v := auth.New(auth.Options{
		Skew: 30 * time.Second, Log: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Issuers: []auth.Issuer{{URL: i.URL, Audiences: []string{authtest.Audience}, Keys: auth.NewRemoteKeys(auth.KeysOptions{Issuer: i.URL, TTL: time.Hour, Every: time.Millisecond})}},
	})
	refused, good := 0, 0
	for _, c := range authtest.Cases(t, "../../testdata/tokens/cases.json") {
		token := i.Token(t, c)
		who, err := v.Verify(t.Context(), token)
		switch {
		case c.Good && err != nil:
			t.Errorf("%s: %v", c.Name, err)
		case c.Good:
			good++
			if !who.Has(auth.Viewer) || who.Has(auth.Operator) || who.Issuer != i.URL || who.Subject != "somebody" || len(who.TokenID) != 32 || strings.Contains(token, who.TokenID) {
				t.Errorf("%s: %+v", c.Name, who)
			}
		case !errors.Is(err, auth.ErrUnauthenticated) || who != nil:
			t.Errorf("%s is let in, or not told to be bad: %v %+v", c.Name, err, who)
		case !strings.Contains(err.Error(), "("+c.Reason+")"):
			t.Errorf("%s: %v, want the reason %s", c.Name, err, c.Reason)
		default:
			refused++
		}
		for part := range strings.SplitSeq(token, ".") {
			if len(part) >= 20 && strings.Contains(log.String(), part) {
				t.Errorf("%s stands in the log", c.Name)
			}
		}
	}
	if t.Logf("%d refused, %d good", refused, good); refused < 100 || good < 10 {
		t.Error("the table is too short")
	}
}
