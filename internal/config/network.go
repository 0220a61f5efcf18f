package config

import (
	"fmt"
	"net/netip"
)

// Network is an address or a network in a file: 10.0.0.7 is 10.0.0.7/32.
type Network struct{ netip.Prefix }

// UnmarshalText reads an address or a network. IPv4 written as IPv6 is IPv4.
func (n *Network) UnmarshalText(text []byte) error {
	if a, err := netip.ParseAddr(string(text)); err == nil && a.Zone() == "" {
		a = a.Unmap()
		n.Prefix = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	p, err := netip.ParsePrefix(string(text))
	if err != nil {
		return fmt.Errorf("config: expected an address or a network: %w", err)
	}
	// A client's address is unmapped, so a network written in IPv6 would never hold one of IPv4.
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < 96 {
			return fmt.Errorf("config: expected a network of IPv4 or of IPv6, got %s, which is of both", p)
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	n.Prefix = p.Masked()
	return nil
}

// Expected returns what can be read, for the error of what can not.
func (Network) Expected() string {
	return `an address such as "10.0.0.7" or a network such as "10.0.0.0/24"`
}

// Networks are those of peers that are believed.
type Networks []Network

// Contain reports whether an address, as netip.Addr.Unmap returns it, is in one of them.
func (all Networks) Contain(a netip.Addr) bool {
	for _, n := range all {
		if n.Contains(a) {
			return true
		}
	}
	return false
}
