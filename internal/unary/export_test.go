package unary

// Held returns how many bytes of messages are held.
func (s *Server) Held() int64 { return s.held.Load() }

// Conns returns how many connections are served.
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// ParseTimeout reads the header grpc-timeout.
var ParseTimeout = parseTimeout
