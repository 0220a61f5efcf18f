package config

import "net"

// IsThisMachine reports whether a host, as it stands in an address, is certainly this machine. Of a
// name below localhost it is not certain: a name server may answer for it.
func IsThisMachine(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
