package cluster

// owner returns the member that owns a key among members: the one with the greatest hash of (key, member)
// (rendezvous hashing, Thaler and Ravishankar 1998). "" where there are no members. Independent of their order.
//
// FNV-1a alone spreads keys unevenly over members whose names differ only in the last characters; the finaliser
// of MurmurHash3 mends that.
func owner(key string, members []string) string {
	var best string
	var top uint64
	for _, m := range members {
		h := mix(fnv(fnv(fnvBasis, key), m))
		if best == "" || h > top || h == top && m < best {
			best, top = m, h
		}
	}
	return best
}

const (
	fnvBasis uint64 = 14695981039346656037
	fnvPrime uint64 = 1099511628211
)

func fnv(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return (h ^ 0xff) * fnvPrime
}

func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
