package unary

// Held returns how many bytes of messages are held.
func (s *Server) Held() int64 { return s.held.Load() }

// ParseTimeout reads the header grpc-timeout.
var ParseTimeout = parseTimeout
