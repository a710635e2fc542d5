package auth

import (
	"fmt"
	"net/netip"
	"strings"
)

// ParseNetwork parses an address, such as 10.1.2.3, or a network in CIDR notation, such as
// 10.0.0.0/8. An address is the network of that address alone; its zone is dropped. IPv4 written as
// IPv6 (::ffff:10.1.2.3) is returned as IPv4. A network with bits set beyond its length is an
// error: its author may have meant the one address, or the whole network.
func ParseNetwork(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if !strings.Contains(text, "/") { // a zone may contain a slash
		var addr netip.Addr
		addr, err = netip.ParseAddr(text)
		p = netip.PrefixFrom(addr, addr.BitLen())
	}
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8 or 2001:db8::/32", text)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%q has more than the network's bits: expected %s, or one address without /", text, p.Masked())
	}
	return p, nil
}
