package webhook

import "net/netip"

// inner are the ranges that are not the public network although they look so: those of RFC 6890 and of its successors, and
// those that stand for an IPv4 address, by which a private one could be reached (NAT64, 6to4, Teredo).
func inner() []string {
	return []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
	}
}

// public says whether an address is one of the public network; of IPv6 that is what has been given out for it, 2000::/3.
func public(a netip.Addr) bool {
	if !a.IsValid() || !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	if a.Is6() && !netip.MustParsePrefix("2000::/3").Contains(a) {
		return false
	}
	for _, p := range inner() {
		if netip.MustParsePrefix(p).Contains(a) {
			return false
		}
	}
	return true
}

func within(networks []netip.Prefix, a netip.Addr) bool {
	for _, p := range networks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
