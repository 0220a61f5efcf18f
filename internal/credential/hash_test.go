package credential

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

// light is as cheap as parameters may be, for tests.
var light = Params{Time: 5, MemoryKiB: 7 << 10, Threads: 1}

func TestAHashMatchesItsPasswordOnly(t *testing.T) {
	const password = "correct horse battery staple"
	encoded, err := Hash([]byte(password), light)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(encoded, "$argon2id$v=19$m=7168,t=5,p=1$") {
		t.Errorf("got %s", encoded)
	}
	h, err := parseHash(encoded)
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]bool{
		password: true, password + " ": false, "": false, strings.ToUpper(password): false,
		password + "\x00": false,
	} {
		if got := h.matches(prepare(p)); got != want {
			t.Errorf("%q: %v", p, got)
		}
	}
	again, err := Hash([]byte(password), light)
	if err != nil || again == encoded {
		t.Errorf("the same salt twice: %v", err)
	}
}

func TestBothWaysToWriteALetterAreOnePassword(t *testing.T) {
	const composed, decomposed = "caf\u00e9-\u00c5ngstr\u00f6m", "cafe\u0301-A\u030angstro\u0308m"
	for _, made := range []string{composed, decomposed} {
		encoded, err := Hash([]byte(made), light)
		if err != nil {
			t.Fatal(err)
		}
		h, err := parseHash(encoded)
		if err != nil {
			t.Fatal(err)
		}
		for _, typed := range []string{composed, decomposed} {
			if !h.matches(prepare(typed)) {
				t.Errorf("made from %+q, %+q does not match", made, typed)
			}
		}
		if h.matches(prepare("cafe-Angstrom")) {
			t.Error("letters without their marks match")
		}
	}
}

func TestHashRefusesWhatItMustNotHash(t *testing.T) {
	for want, c := range map[string]struct {
		password string
		params   Params
	}{
		"credential: expected a password of 1 to 1024 bytes, got 0": {
			"", light,
		},
		"credential: expected a password of 1 to 1024 bytes, got 1025": {
			strings.Repeat("a", 1025), light,
		},
		"credential: argon2: memory_kib: expected 7168 (7 MiB) to 1048576 (1 GiB), got 64": {
			"a", Params{1, 64, 1},
		},
		"credential: argon2: memory_kib: expected memory_kib times time to be at least 35840, got " +
			"7168": {
			"a", Params{1, 7168, 1},
		},
		"credential: argon2: time: expected 1 to 16, got 0": {
			"a", Params{0, 19456, 1},
		},
		"credential: argon2: threads: expected 1 to 16, got 200": {
			"a", Params{2, 19456, 200},
		},
	} {
		if _, err := Hash([]byte(c.password), c.params); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestTheDefaultsAreOWASPs(t *testing.T) {
	if DefaultParams() != (Params{Time: 2, MemoryKiB: 19456, Threads: 1}) ||
		DefaultParams().Validate() != nil {
		t.Errorf("%+v", DefaultParams())
	}
}

func b64(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) }

func b64hex(t *testing.T, s string) string {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawStdEncoding.EncodeToString(b)
}

// passlib writes base64 with a dot for the plus.
func adapted(s string) string { return strings.ReplaceAll(s, "+", ".") }

// vectors are hashes that others have published.
func vectors(t *testing.T) map[string]struct{ encoded, password string } {
	return map[string]struct{ encoded, password string }{
		"argon2id, the reference implementation's": {
			"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
			"password",
		},
		"bcrypt 2a, crypt_blowfish's": {
			"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
			"U*U",
		},
		"bcrypt 2b": {
			"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
			"U*U",
		},
		"bcrypt 2y": {
			"$2y$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK",
			"U*U*",
		},
		"scrypt, RFC 7914 section 12": {"$scrypt$ln=14,r=8,p=1$" + b64("SodiumChloride") + "$" +
			b64hex(t,
				"7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2d5432955613f0fcf62d4970524"+
					"2a9af9e61e85dc0d651e40dfcf017b45575887"), "pleaseletmein"},
		"PBKDF2 with SHA-256, RFC 7914 section 11": {"$pbkdf2-sha256$80000$" + b64("NaCl") + "$" +
			adapted(
				b64hex(t, "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56")), "Password"},
		"PBKDF2 with SHA-1, RFC 6070": {
			"$pbkdf2$4096$" + b64("salt") + "$" + adapted(
				b64hex(t, "4b007901b765489abead49d926f721d065a429c1")),
			"password",
		},
	}
}

func TestHashesOfOtherSystemsMatch(t *testing.T) {
	for name, v := range vectors(t) {
		t.Run(name, func(t *testing.T) {
			h, err := parseHash(v.encoded)
			if err != nil {
				t.Fatal(err)
			}
			if !h.matches(prepare(v.password)) {
				t.Error("the right password does not match")
			}
			if h.matches(prepare(v.password+"x")) || h.matches(nil) {
				t.Error("a wrong password matches")
			}
			if w := h.cost(); w.algorithm == "" || w.settings == "" || w.memory <= 0 {
				t.Errorf("cost %+v", w)
			}
			if !outdated(h, Params{Time: 3, MemoryKiB: 64 << 10, Threads: 4}) {
				t.Error("it is not to be replaced")
			}
		})
	}
}

func TestOnlyWeakerHashesAreToBeReplaced(t *testing.T) {
	encoded, err := Hash([]byte("password"), light)
	if err != nil {
		t.Fatal(err)
	}
	made, err := parseHash(encoded)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		p    Params
		want bool
	}{
		{light, false},
		{Params{Time: 4, MemoryKiB: 7 << 10, Threads: 1}, false},
		{Params{Time: 5, MemoryKiB: 7 << 10, Threads: 4}, false},
		{Params{Time: 6, MemoryKiB: 7 << 10, Threads: 1}, true},
		{Params{Time: 5, MemoryKiB: 8 << 10, Threads: 1}, true},
	} {
		if got := outdated(made, c.p); got != c.want {
			t.Errorf("%+v: %v", c.p, got)
		}
	}
}

func TestOtherHashesAreRefused(t *testing.T) {
	const (
		salt, key = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
		bcrypt    = "CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
	)
	for name, encoded := range map[string]string{
		"nothing": "", "a password": "hunter2", "a dollar": "$", "unknown": "$unknown$x",
		"apr1":     "$apr1$salt$hash",
		"md5crypt": "$1$salt$qJH7.N4xYta3aEG/dfqo/0", "sha512crypt": "$6$salt$x",
		"sha256crypt": "$5$salt$x", "yescrypt": "$y$j9T$x$y",
		"plain": "$plaintext$hunter2", "base64": "$base64$aHVudGVyMg", "LDAP": "{SSHA}x",
		"LDAP, unsalted":                   "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=",
		"LDAP, no salt":                    "{SSHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=",
		"argon2i":                          "$argon2i$v=19$m=65536,t=2,p=1$" + salt + "$" + key,
		"argon2d":                          "$argon2d$v=19$m=65536,t=2,p=1$" + salt + "$" + key,
		"argon2id 16":                      "$argon2id$v=16$m=65536,t=2,p=1$" + salt + "$" + key,
		"argon2id without version":         "$argon2id$m=65536,t=2,p=1$" + salt + "$" + key,
		"argon2id, other order":            "$argon2id$v=19$t=2,m=65536,p=1$" + salt + "$" + key,
		"argon2id, extra setting":          "$argon2id$v=19$m=65536,t=2,p=1,data=x$" + salt + "$" + key,
		"argon2id, leading zero":           "$argon2id$v=19$m=065536,t=2,p=1$" + salt + "$" + key,
		"argon2id, plus":                   "$argon2id$v=19$m=+65536,t=2,p=1$" + salt + "$" + key,
		"argon2id, 2 GiB":                  "$argon2id$v=19$m=2097152,t=2,p=1$" + salt + "$" + key,
		"argon2id, 1 million passes":       "$argon2id$v=19$m=65536,t=1000000,p=1$" + salt + "$" + key,
		"argon2id, 0 passes":               "$argon2id$v=19$m=65536,t=0,p=1$" + salt + "$" + key,
		"argon2id, 256 lanes":              "$argon2id$v=19$m=65536,t=2,p=256$" + salt + "$" + key,
		"argon2id, 0 lanes":                "$argon2id$v=19$m=65536,t=2,p=0$" + salt + "$" + key,
		"argon2id, less than 8 KiB a lane": "$argon2id$v=19$m=8,t=2,p=2$" + salt + "$" + key,
		"argon2id, no salt":                "$argon2id$v=19$m=65536,t=2,p=1$$" + key,
		"argon2id, no key":                 "$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$",
		"argon2id, short key":              "$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$AAAA",
		"argon2id, padded":                 "$argon2id$v=19$m=65536,t=2,p=1$" + salt + "=$" + key,
		"argon2id, trailing bits":          "$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$" + key[:len(key)-1] + "d",
		"argon2id, one part more":          "$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$" + key + "$",
		"argon2id, line break":             "$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$" + key + "\n",
		"bcrypt 2x":                        "$2x$05$" + bcrypt,
		"bcrypt cost 31":                   "$2b$31$" + bcrypt,
		"bcrypt cost 3":                    "$2b$03$" + bcrypt,
		"bcrypt cost 5":                    "$2b$5$" + bcrypt,
		"bcrypt cost -5":                   "$2b$-5$" + bcrypt,
		"bcrypt, short":                    "$2b$05$" + bcrypt[:len(bcrypt)-1],
		"bcrypt, empty":                    "$2b$05$",
		"bcrypt-sha256": "$bcrypt-sha256$v=2,t=2b,r=5$CCCCCCCCCCCCCCCCCCCCC.$E5YPO" +
			"9kmyuRGyh0XouQYb4YMJKvyOeW",
		"scrypt, 1 TiB":       "$scrypt$ln=30,r=8,p=1$c2FsdHNhbHQ$" + key,
		"scrypt, much work":   "$scrypt$ln=20,r=8,p=2$c2FsdHNhbHQ$" + key,
		"scrypt, ln=0":        "$scrypt$ln=0,r=8,p=1$c2FsdHNhbHQ$" + key,
		"scrypt, no key":      "$scrypt$ln=14,r=8,p=1$c2FsdHNhbHQ$",
		"scrypt, short key":   "$scrypt$ln=14,r=8,p=1$c2FsdHNhbHQ$AAAA",
		"scrypt, other order": "$scrypt$r=8,ln=14,p=1$c2FsdHNhbHQ$" + key,
		"PBKDF2, 1 round":     "$pbkdf2-sha256$1$c2FsdHNhbHQ$" + key,
		"PBKDF2, many rounds": "$pbkdf2-sha256$2000000000$c2FsdHNhbHQ$" + key,
		"PBKDF2, negative":    "$pbkdf2-sha256$-1$c2FsdHNhbHQ$" + key,
		"PBKDF2, no key":      "$pbkdf2-sha256$10000$c2FsdHNhbHQ$",
		"PBKDF2, long key":    "$pbkdf2-sha256$10000$c2FsdHNhbHQ$" + b64(strings.Repeat("k", 64)),
		"PBKDF2, MD5":         "$pbkdf2-md5$10000$c2FsdHNhbHQ$" + key,
		"longer than any":     "$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$" + strings.Repeat("A", 1000),
	} {
		h, err := parseHash(encoded)
		if err == nil {
			t.Errorf("%s: accepted as %+v", name, h.cost())
		} else if len(encoded) > 4 && strings.Contains(err.Error(), encoded[3:]) ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error repeats it: %v", name, err)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW")
	f.Add("$scrypt$ln=14,r=8,p=1$c2FsdHNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	for _, g := range golden {
		f.Add(g.encoded)
	}
	f.Add("$pbkdf2-sha256$10000$c2FsdHNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Fuzz(func(t *testing.T, encoded string) {
		h, err := parseHash(encoded)
		if err != nil {
			return
		}
		if w := h.cost(); w.memory <= 0 || w.memory > 1<<30 || w.settings == "" {
			t.Errorf("%q costs %+v", encoded, w)
		}
		// as Django writes it
		if a, ok := h.(*argon2id); ok && a.String() != strings.TrimPrefix(encoded, "argon2") {
			t.Errorf("%q is also %q", encoded, a.String())
		}
	})
}
