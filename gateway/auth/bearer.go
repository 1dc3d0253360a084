package auth

import "strings"

// maxToken bounds a token in bytes: what is longer is refused before it is looked at.
const maxToken = 16 << 10

// Bearer reads the token from the values of a request's Authorization header, in whatever transport it came: exactly
// one value, the scheme in letters of either case, one blank, and a token of the characters that a compact JWS has.
// ErrUnauthenticated for all else: two values are two opinions of who asks, and the parts of a chain could each believe
// another.
func Bearer(h []string) (string, error) {
	const scheme = "bearer "
	if len(h) != 1 || len(h[0]) <= len(scheme) || len(h[0]) > len(scheme)+maxToken || !strings.EqualFold(h[0][:len(scheme)], scheme) {
		return "", ErrUnauthenticated
	}
	token := h[0][len(scheme):]
	for i := range len(token) {
		if !compact(token[i]) {
			return "", ErrUnauthenticated
		}
	}
	return token, nil
}

// compact says that a byte may stand in a compact JWS: base64url without padding, and the dots.
func compact(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}
