package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// The bounds of a key set.
const (
	maxKeys    = 100
	leastRSA   = 2048 // bits
	mostRSA    = 8192 // bits: checking takes time that grows with them
	reasonable = 1 << 20
)

// publicKey is one key of a set and what it may check.
type publicKey struct {
	key  crypto.PublicKey
	algs []string
}

// keySet is what an issuer publishes, by key id. Two keys may share one where they are for different algorithms.
type keySet map[string][]publicKey

// find returns the key for an algorithm; known says whether there is one of that id at all.
func (s keySet) find(kid, alg string) (key crypto.PublicKey, known bool) {
	keys := s[kid]
	for _, k := range keys {
		if slices.Contains(k.algs, alg) {
			return k.key, true
		}
	}
	return nil, len(keys) > 0
}

// algorithms are those that are taken: asymmetric ones alone.
var algorithms = [...]string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// usable says that an algorithm is taken.
func usable(alg string) bool { return slices.Contains(algorithms[:], alg) }

// readKeys reads a JWKS. Keys that cannot check a signature here are left out: symmetric and private ones, those for
// encryption, weak ones, kinds that nobody knows, those without an id. A set of none is a set: its issuer has withdrawn all.
func readKeys(body []byte) (set keySet, left int, err error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if len(body) > reasonable {
		return nil, 0, errors.New("the key set is too large")
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, 0, fmt.Errorf("read the key set: %w", err)
	}
	if doc.Keys == nil || len(doc.Keys) > maxKeys {
		return nil, 0, fmt.Errorf("read the key set: want 0..%d keys", maxKeys)
	}
	set = keySet{}
	for _, raw := range doc.Keys {
		kid, k, ok := readKey(raw)
		if !ok {
			left++
			continue
		}
		set[kid] = append(set[kid], k)
	}
	return set, left, nil
}

func readKey(raw []byte) (kid string, k publicKey, ok bool) {
	members, err := object(raw)
	if err != nil {
		return "", k, false
	}
	for _, secret := range []string{"d", "k", "p", "q"} {
		if _, there := members[secret]; there {
			return "", k, false
		}
	}
	key, err := jwk.ParseKey(raw)
	if err != nil || key.KeyID() == "" || len(key.KeyID()) > maxKid || key.KeyUsage() != "" && key.KeyUsage() != "sig" {
		return "", k, false
	}
	if _, said := members["key_ops"]; said && !slices.Contains(key.KeyOps(), jwk.KeyOpVerify) {
		return "", k, false
	}
	if err := key.Raw(&k.key); err != nil {
		return "", k, false
	}
	k.algs = algorithmsOf(&k)
	if alg := key.Algorithm().String(); alg != "" {
		if !slices.Contains(k.algs, alg) {
			return "", k, false
		}
		k.algs = []string{alg}
	}
	return key.KeyID(), k, len(k.algs) > 0
}

// algorithmsOf are those that a key may check by its kind and size; none = it is not strong enough, or no key.
func algorithmsOf(k *publicKey) []string {
	switch key := k.key.(type) {
	case rsa.PublicKey:
		k.key = &key
		return algorithmsOf(k)
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < leastRSA || bits > mostRSA || key.E < 3 || key.E%2 == 0 {
			return nil
		}
		return algorithms[:6]
	case ecdsa.PublicKey:
		k.key = &key
		return algorithmsOf(k)
	case *ecdsa.PublicKey:
		if _, err := key.ECDH(); err != nil { // not on its curve
			return nil
		}
		switch key.Curve.Params().BitSize {
		case 256:
			return algorithms[6:7]
		case 384:
			return algorithms[7:8]
		case 521:
			return algorithms[8:9]
		}
	case ed25519.PublicKey:
		if len(key) == ed25519.PublicKeySize {
			return algorithms[9:]
		}
	}
	return nil
}
