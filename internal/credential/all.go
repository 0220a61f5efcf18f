package credential

// All gives every user there is, the disabled ones too, by name: as they were when the users were
// last read.
func (s *Store) All() map[string]User {
	accounts := s.file.current.Load().accounts
	all := make(map[string]User, len(accounts))
	for name, a := range accounts {
		all[name] = a.User
	}
	return all
}

// Outdates reports whether a user's sessions of before must end because of what the user is now:
// disabled, with another password or tenant, or without a role or scope.
func Outdates(was, is User) bool { return outdates(was, is) }
