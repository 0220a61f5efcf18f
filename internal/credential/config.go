package credential

import (
	"cmp"
	"errors"
	"runtime"
	"time"

	"github.com/sallyport/sallyport/internal/config"
)

// Config is key `users:` of the issuer's file. Without a file there are no users.
type Config struct {
	File        config.Path `yaml:"file" usage:"YAML file of users and their password hashes"`
	MaxPassword int         `yaml:"max_password" flag:"-" usage:"longest password in bytes"`
	// UpgradeHashes has the issuer write to File, which it otherwise never does.
	UpgradeHashes bool    `yaml:"upgrade_hashes" flag:"-" usage:"replace a hash of another kind, or a weaker one, when its user logs in"`
	Argon2        Params  `yaml:"argon2"`
	Hashing       Hashing `yaml:"hashing"`
}

// Hashing bounds what checking passwords may take from the machine. The process's memory peaks at
// a little more than twice MemoryMiB, since what a hash has used stays for the garbage collector:
// 290 MB were measured with 128 MiB full.
type Hashing struct {
	Concurrency int           `yaml:"concurrency" flag:"-" usage:"passwords checked at once; 0: one less than the processors, at least one"`
	MemoryMiB   int           `yaml:"memory_mib" flag:"-" usage:"memory of all passwords being checked at once"`
	Queue       int           `yaml:"queue" flag:"-" usage:"logins that may wait for their turn; a quarter as many more of users who have logged in from there before"`
	Wait        time.Duration `yaml:"wait" flag:"-" usage:"longest wait for a turn"`
}

// DefaultConfig returns every setting but the file.
func DefaultConfig() Config {
	return Config{
		MaxPassword: 1024,
		Argon2:      DefaultParams(),
		Hashing:     Hashing{MemoryMiB: 128, Queue: 64, Wait: 2 * time.Second},
	}
}

// Validate refuses settings out of their bounds.
func (c Config) Validate() error {
	var errs []error
	// Whoever sets anything else wants users.
	if c.File == "" && c != DefaultConfig() {
		errs = append(errs, config.At("file", "expected the path of the users file, got nothing"))
	}
	errs = append(errs, config.Within("argon2", c.Argon2.Validate()),
		config.Within("hashing", c.Hashing.Validate()))
	if c.MaxPassword < 64 || c.MaxPassword > 4096 {
		errs = append(errs, config.At("max_password", "expected 64 to 4096 bytes, got %d", c.MaxPassword))
	}
	if need := c.Argon2.MemoryKiB >> 10; need > c.Hashing.MemoryMiB {
		errs = append(errs, config.At("hashing.memory_mib",
			"expected at least the %d MiB that one argon2 hash takes, got %d", need,
			c.Hashing.MemoryMiB))
	}
	return errors.Join(errs...)
}

// Validate refuses costs that are too low to protect a password, and those that no login could
// bear.
func (p Params) Validate() error {
	switch {
	case p.MemoryKiB < 7<<10 || p.MemoryKiB > 1<<20:
		return config.At("memory_kib", "expected 7168 (7 MiB) to 1048576 (1 GiB), got %d", p.MemoryKiB)
	case p.Time < 1 || p.Time > maxArgonTime:
		return config.At("time", "expected 1 to %d, got %d", maxArgonTime, p.Time)
	case p.Threads < 1 || p.Threads > maxArgonThreads:
		return config.At("threads", "expected 1 to %d, got %d", maxArgonThreads, p.Threads)
	case p.MemoryKiB*p.Time < 35<<10:
		// The least of what OWASP's cheat sheet has for argon2id: 5 passes over 7 MiB.
		return config.At("memory_kib",
			"expected memory_kib times time to be at least 35840, got %d", p.MemoryKiB*p.Time)
	case p.MemoryKiB*p.Time > maxArgonWork:
		return config.At("memory_kib", "expected memory_kib times time to be at most %d, got %d",
			maxArgonWork, p.MemoryKiB*p.Time)
	}
	return nil
}

// Validate refuses settings out of their bounds.
func (h Hashing) Validate() error {
	var errs []error
	if h.Concurrency < 0 || h.Concurrency > 1024 {
		errs = append(errs, config.At("concurrency", "expected 0 to 1024, got %d", h.Concurrency))
	}
	if h.MemoryMiB < 1 || h.MemoryMiB > 1<<20 {
		errs = append(errs, config.At("memory_mib", "expected 1 to 1048576, got %d", h.MemoryMiB))
	}
	if h.Queue < 0 || h.Queue > 100_000 {
		errs = append(errs, config.At("queue", "expected 0 to 100000, got %d", h.Queue))
	}
	if h.Wait <= 0 || h.Wait > time.Minute {
		errs = append(errs, config.At("wait", "expected more than 0 and at most 1m, got %v", h.Wait))
	}
	return errors.Join(errs...)
}

// slots is how many hashes run at once. One processor is left for those who are logged in already.
func (h Hashing) slots() int {
	return cmp.Or(h.Concurrency, max(1, runtime.GOMAXPROCS(0)-1))
}

// Rate lets Burst through at once, and one more after each Every.
type Rate struct {
	Burst int           `yaml:"burst" flag:"-"`
	Every time.Duration `yaml:"every" flag:"-"`
}

// Validate refuses a rate that lets nothing, or everything, through.
func (r Rate) Validate() error {
	var errs []error
	if r.Burst < 1 || r.Burst > 1_000_000 {
		errs = append(errs, config.At("burst", "expected 1 to 1000000, got %d", r.Burst))
	}
	if r.Every < time.Millisecond || r.Every > 24*time.Hour {
		errs = append(errs, config.At("every", "expected 1ms to 24h, got %v", r.Every))
	}
	return errors.Join(errs...)
}

// Limits is key `limits:` of the issuer's file: how many logins are tried before more are refused
// without a look at the password. An address is one IPv4 address or one IPv6 /64; a network is an
// IPv4 /16 or an IPv6 /32. Names count in their normalised form, known ones and others alike.
//
// What is counted is failures, and they are forgotten at the rate given, not by a success: else
// who owns one account could log in to it and have his guesses at others forgotten. Attempts that
// were refused without a look at the password are not counted.
//
// A name must not be locked by strangers. So each address has a count of its own for each name
// (PairFailures). Failures from everywhere together (NameFailures) bound what many addresses can
// try; when they have used that up, a user still gets in from an address where he has logged in
// before, and from any network from which nobody has been guessing (NetworkFailures, for each name
// counted in 64 groups of networks). Nor may one of many behind an address lock out the others:
// when the address has used up its counts, who has logged in from it before still gets in, by a
// right password.
//
// How often a name may log in (NameLogins) bounds what an account can store in Redis; it counts
// successes alone, so that only who knows the password meets it.
//
// Counts, and the addresses where a user has logged in, are kept by each process for itself and
// start anew with it: N issuers behind one address let through up to N times as much.
type Limits struct {
	AddressAttempts Rate `yaml:"address_attempts"` // logins from an address, right or wrong
	AddressFailures Rate `yaml:"address_failures"` // failures from an address, whatever the names
	PairFailures    Rate `yaml:"pair_failures"`    // failures from an address for one name
	NameFailures    Rate `yaml:"name_failures"`    // failures for one name, wherever from
	// failures for one name from a group of networks, beyond NameFailures
	NetworkFailures Rate `yaml:"network_failures"`
	NameLogins      Rate `yaml:"name_logins"` // successful logins of one name, wherever from
}

// DefaultLimits returns limits that let one address try a name 5 times and then once a minute; and
// all addresses together 30 times and then every other minute, plus at most 128 times and then 64
// times every two hours by those who command networks everywhere.
func DefaultLimits() Limits {
	return Limits{
		AddressAttempts: Rate{Burst: 100, Every: 100 * time.Millisecond},
		AddressFailures: Rate{Burst: 50, Every: 10 * time.Second},
		PairFailures:    Rate{Burst: 5, Every: time.Minute},
		NameFailures:    Rate{Burst: 30, Every: 2 * time.Minute},
		NetworkFailures: Rate{Burst: 2, Every: 2 * time.Hour},
		NameLogins:      Rate{Burst: 100, Every: 6 * time.Second},
	}
}

// Validate refuses rates out of their bounds.
func (l Limits) Validate() error {
	return errors.Join(
		config.Within("address_attempts", l.AddressAttempts.Validate()),
		config.Within("address_failures", l.AddressFailures.Validate()),
		config.Within("pair_failures", l.PairFailures.Validate()),
		config.Within("name_failures", l.NameFailures.Validate()),
		config.Within("network_failures", l.NetworkFailures.Validate()),
		config.Within("name_logins", l.NameLogins.Validate()),
	)
}
