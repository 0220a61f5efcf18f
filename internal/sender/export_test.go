package sender

// Waiting returns how many messages wait for a key.
func (s *Senders) Waiting() int { return s.waiters.Waiting() }
