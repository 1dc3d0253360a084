package auth

import (
	"strings"

	"github.com/google/uuid"

	"starling/engine/fleet"
)

// UserID is the id under which what an identity does is recorded: the token's subject where it is a UUID, else one that
// is made of tenant, issuer and subject and is always the same for them. Nobody ("" or nil) has none.
func UserID(who *Identity) fleet.UserID {
	if who == nil || who.Subject == "" {
		return ""
	}
	if len(who.Subject) == 36 {
		if id, err := uuid.Parse(who.Subject); err == nil {
			return fleet.UserID(id.String())
		}
	}
	name := strings.Join([]string{string(who.Tenant), who.Issuer, who.Subject}, "\x00")
	return fleet.UserID(uuid.NewSHA1(uuid.NameSpaceURL, []byte(name)).String())
}
