package credential

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// golden are hashes of goldenPassword that the libraries named have made, and what they cost here.
const goldenPassword = "correct horse battery staple"

var golden = map[string]struct{ encoded, work string }{
	"Werkzeug 3.1.9, scrypt": {
		"scrypt:32768:8:1$oSRw9r78BXrV0EQI$f4e8c953bfb8280f161df7fde3d9672fef0873e4ce048a46ce3da5c4eb" +
			"886122666e48f3a9428a44dbe48e2a15fef34f0c9e0566eb761b98208db39c63d21714",
		"scrypt ln=15,r=8,p=1",
	},
	"Werkzeug 3.1.9, pbkdf2": {
		"pbkdf2:sha256:1000000$wg94PkkUzMKLv8un$5ed2dc8806d9894ebe0f0276277b18ef2e37cf2282e38969e2fac" +
			"a75774f9959",
		"pbkdf2-sha256 1000000",
	},
	"Werkzeug 3.1.9, pbkdf2:sha1": {
		"pbkdf2:sha1:2000$QzHeEZy6z2n2fo5q$e1b61fa7cbb69a2620862f6b9ae82850d14f54f1",
		"pbkdf2-sha1 2000",
	},
	"Werkzeug 3.1.9, pbkdf2:sha512": {
		"pbkdf2:sha512:2000$oXwS2ztd$ba008f80a8f5d98436eb64d7813d2bbd21454c96814f20c2edde45357d18e678" +
			"b65f538745505b3d20cccdd58a8e085da674f816b3684dc58472e0e43ecbb44a",
		"pbkdf2-sha512 2000",
	},
	"Django 5.2.19, pbkdf2_sha256": {
		"pbkdf2_sha256$1000000$saltSALTsaltSALTsalt22$bz1lAUUgJY0JWwQ56abOAWTYVwmWH6teq675VC1W27I=",
		"pbkdf2-sha256 1000000",
	},
	"Django 5.2.19, pbkdf2_sha1": {
		"pbkdf2_sha1$5000$saltSALT$1aQr2U2yl7gn5QHB46FZQ9QKqSY=",
		"pbkdf2-sha1 5000",
	},
	"Django 5.2.19, argon2": {
		"argon2$argon2id$v=19$m=102400,t=2,p=8$c2FsdFNBTFRzYWx0U0FMVHNhbHQyMg$0JHnyQQCmVVR2p7ghemT9bG" +
			"r9G9pE98Pv6ew2xG20qE",
		"argon2id m=102400,t=2,p=8",
	},
	"Django 5.2.19, bcrypt_sha256": {
		"bcrypt_sha256$$2b$05$vUkhhCWnfSioXLBPgCFc/.0bhgj5NylIMti.ATNOQ3wZTXE21SQfy",
		"bcrypt 05",
	},
	"Django 5.2.19, bcrypt": {
		"bcrypt$$2b$05$EUu9Ywo/9684aLoWunekdOIpEyaJ7L2.ffjzGhqh0i2kkF.glyCXO",
		"bcrypt 05",
	},
	"Django 5.2.19, scrypt": {
		"scrypt$16384$saltSALTsaltSALTsalt22$8$5$JoHrTtzYR4dlGq/6l1LHv0MWJFLPpCr/ZwvvlJnwLJ0cmV6TDB9P" +
			"H8+0xxd6U2Zeox7WvLGWrcvepK4Xa1AC9w==",
		"scrypt ln=14,r=8,p=5",
	},
	"passlib 1.7.4, pbkdf2_sha1": {
		"$pbkdf2$2000$EqJUSkmpNSZEiHHOOYcw5g$LPhoBEq9vW1JSJlFQkqgeyaKVZA",
		"pbkdf2-sha1 2000",
	},
	"passlib 1.7.4, pbkdf2_sha256": {
		"$pbkdf2-sha256$2000$UUrpPcc4Zyxl7J2TEoIQog$acOe4LvXweUGezFLxfUxWlTFRf9qt0dslMWd2z6P7NU",
		"pbkdf2-sha256 2000",
	},
	"passlib 1.7.4, scrypt": {
		"$scrypt$ln=14,r=8,p=1$7b33vncOYSxFiNF6LwUgpA$voY/y6ELjVBpEW9VSYnuSqpT9zPEjSNoWnm06C0OjEU",
		"scrypt ln=14,r=8,p=1",
	},
	"@phc/pbkdf2 1.1.14, sha512": {
		"$pbkdf2-sha512$i=25000$dkpMcv4hW0qGqUsZJ5KIDg$R66L91zlks5hlALODl3UW5pVu0eJtlzVe8/c7tEiyciiwm" +
			"Trq+14sZJkJHJtNkZwr9Px/f0xMYJXzWlHlJMTJg",
		"pbkdf2-sha512 25000",
	},
	"@phc/pbkdf2 1.1.14, sha256": {
		"$pbkdf2-sha256$i=10000$CqfVVJPMIkQLqX08u81S7Q$dfQy+UQMD1ddldNv4pkC4pRk8K2QPX1dQyEL8SmoCsk",
		"pbkdf2-sha256 10000",
	},
	"@phc/pbkdf2 1.1.14, sha1": {
		"$pbkdf2-sha1$i=5000$FAe39iH16AN19gvxdFqfGA$jhgqTOelKhi4Wh1bogdhYeLPAhU",
		"pbkdf2-sha1 5000",
	},
	"passlib 1.7.4, {SSHA}": {
		"{SSHA}G6PqGS/c5UfB6EctRVpRNeK8aj5by5mT",
		"argon2id m=19456,t=2,p=1",
	},
	"passlib 1.7.4, {SSHA256}": {
		"{SSHA256}xU4Aj7MaqXq59m/lpPrMJWuDqWJYMPQ9dg01lYpO8L/3nrP2fo8RQg==",
		"argon2id m=19456,t=2,p=1",
	},
	"passlib 1.7.4, {SSHA512}": {
		"{SSHA512}BhFSTq32ZWW2xPpc5QNgmSZamFddpTxv1afeEE3MHhgol/iPyr5SNvhfAHPOp4WQfZpA+rzvmYoxppjN3Bx" +
			"x550zZqxVytn7",
		"argon2id m=19456,t=2,p=1",
	},
	"bcrypt 5.0.0": {
		"$2b$05$1CGl5OCfBXrLKTz.mz5PV.AUBg0A1RMTI8/ruTsr2EZL0B0PTIeOm",
		"bcrypt 05",
	},
	"bcrypt 5.0.0, {BCRYPT}": {
		"{BCRYPT}$2b$05$1CGl5OCfBXrLKTz.mz5PV.AUBg0A1RMTI8/ruTsr2EZL0B0PTIeOm",
		"bcrypt 05",
	},
	"bcrypt 5.0.0, {bcrypt}": {
		"{bcrypt}$2a$05$1CGl5OCfBXrLKTz.mz5PV.AUBg0A1RMTI8/ruTsr2EZL0B0PTIeOm",
		"bcrypt 05",
	},
	"bcrypt 5.0.0, {CRYPT}": {
		"{CRYPT}$2b$05$1CGl5OCfBXrLKTz.mz5PV.AUBg0A1RMTI8/ruTsr2EZL0B0PTIeOm",
		"bcrypt 05",
	},
}

func TestHashesThatOtherLibrariesMadeMatchAndCostWhatTheySay(t *testing.T) {
	for name, g := range golden {
		t.Run(name, func(t *testing.T) {
			wrong := []string{goldenPassword + "x", goldenPassword + "\x00"}
			// each takes seconds under the race detector
			if strings.Contains(g.encoded, "1000000$") || strings.Contains(g.encoded, "scrypt") {
				wrong = nil
			}
			checkForeign(t, g.encoded, goldenPassword, wrong...)
			h, err := parseHash(g.encoded)
			if err != nil {
				t.Fatal(err)
			}
			if got := h.cost().algorithm + " " + h.cost().settings; got != g.work {
				t.Errorf("it costs %s, expected %s", got, g.work)
			}
			if own := strings.HasPrefix(g.encoded, "argon2$"); outdated(h, DefaultParams()) == own {
				t.Errorf("it is to be replaced: %v", !own)
			}
		})
	}
}

// checkForeign holds a hash against its password, and wrong ones.
func checkForeign(t *testing.T, encoded, password string, wrong ...string) {
	t.Helper()
	h, err := parseHash(encoded)
	if err != nil {
		t.Errorf("%s: %v", encoded, err)
		return
	}
	if !h.matches(prepare(password)) {
		t.Errorf("%s: the right password does not match", encoded)
	}
	for _, other := range wrong {
		if h.matches(prepare(other)) {
			t.Errorf("%s: %q matches", encoded, other)
		}
	}
}

// TestHashesOfTheRealLibrariesMatch has the libraries that other systems use make hashes now.
func TestHashesOfTheRealLibrariesMatch(t *testing.T) {
	python, err := filepath.Abs("../../.tools/hashes/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("the libraries that make hashes are missing, run: make test-tools (%v)", err)
	}
	for _, password := range []string{goldenPassword, "p\u00e4ssw\u00f6rd-\U0001f512"} {
		cmd := exec.CommandContext(t.Context(), python, "testdata/hashes.py", password)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, stderr.String())
		}
		kinds := 0
		for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); kinds++ {
			var made struct{ Kind, Hash string }
			if err := json.Unmarshal(lines.Bytes(), &made); err != nil {
				t.Fatal(err)
			}
			t.Run(made.Kind,
				func(t *testing.T) { checkForeign(t, made.Hash, password, password[1:], password+"\x00") })
		}
		if kinds < 22 {
			t.Errorf("only %d kinds were made", kinds)
		}
	}
}

// TestLongPasswordsOfDjangosBcryptAreReadInFull: it hashes the password first, so that bcrypt's 72
// bytes and NUL do not matter.
func TestLongPasswordsOfDjangosBcryptAreReadInFull(t *testing.T) {
	const long = "01234567890123456789012345678901234567890123456789012345678901234567890123456789" +
		"01234567890123456789"
	// Django 5.2.19
	h, err := parseHash("bcrypt_sha256$$2b$05$uxJty5AiidDwS/uX/LyqOutFz7hLfQexmmZEqmnyTCMv5tKOVOi.O")
	if err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]bool{
		long: true, long[:99]: false, long[:72]: false, long + "x": false, long + "\x00": false,
	} {
		if got := h.matches(prepare(password)); got != want {
			t.Errorf("%d bytes: %v", len(password), got)
		}
	}
	plain, err := parseHash("bcrypt$$2b$05$EUu9Ywo/9684aLoWunekdOIpEyaJ7L2.ffjzGhqh0i2kkF.glyCXO")
	if err != nil || plain.matches([]byte(goldenPassword+"\x00")) ||
		plain.matches(bytes.Repeat([]byte("a"), 73)) {
		t.Errorf("Django's plain bcrypt is read beyond what it sees: %v", err)
	}
}

func TestHashesThatCostTooMuchOrNothingAreRefused(t *testing.T) {
	key32, key64 := strings.Repeat("ab", 32), strings.Repeat("ab", 64)
	for name, c := range map[string]struct{ encoded, want string }{
		"Werkzeug scrypt, memory": {
			"scrypt:2097152:8:1$saltsalt$" + key64, "expected scrypt with N of",
		},
		"Werkzeug scrypt, work": {
			"scrypt:1048576:8:2$saltsalt$" + key64, "expected scrypt with N of",
		},
		"Werkzeug scrypt, r of 2^40": {
			"scrypt:1024:1099511627776:1$saltsalt$" + key64, "expected scrypt with N of",
		},
		"Werkzeug scrypt, N is odd":  {"scrypt:32767:8:1$saltsalt$" + key64, "damaged"},
		"Werkzeug scrypt, N below 0": {"scrypt:-1024:8:1$saltsalt$" + key64, "damaged"},
		"Werkzeug scrypt, N weak":    {"scrypt:2:8:1$saltsalt$" + key64, "expected scrypt with N of"},
		"Werkzeug scrypt, short key": {"scrypt:32768:8:1$saltsalt$" + key32, "damaged"},
		"Werkzeug scrypt, no key":    {"scrypt:32768:8:1$saltsalt$", "damaged"},
		"Werkzeug scrypt, no salt":   {"scrypt:32768:8:1$$" + key64, "damaged"},
		"Werkzeug scrypt, upper case": {
			"scrypt:32768:8:1$saltsalt$" + strings.ToUpper(key64), "damaged",
		},
		"Werkzeug scrypt, more": {"scrypt:32768:8:1:1$saltsalt$" + key64, "damaged"},
		"Werkzeug pbkdf2, rounds": {
			"pbkdf2:sha256:100000000$saltsalt$" + key32, "expected 1000 to 2000000 rounds",
		},
		"Werkzeug pbkdf2, one round": {
			"pbkdf2:sha256:1$saltsalt$" + key32, "expected 1000 to 2000000 rounds",
		},
		"Werkzeug pbkdf2, 01000": {"pbkdf2:sha256:01000$saltsalt$" + key32, "damaged"},
		"Werkzeug pbkdf2, none":  {"pbkdf2:sha256$saltsalt$" + key32, "damaged"},
		"Werkzeug pbkdf2, md5":   {"pbkdf2:md5:10000$saltsalt$" + key32, "got another kind"},
		"Werkzeug plain":         {"plain$$hunter2hunter2", "got another kind"},
		"Werkzeug sha256":        {"sha256$saltsalt$" + key32, "got another kind"},
		"Django md5":             {"md5$saltsalt$" + key32, "got another kind"},
		"Django argon2i": {
			"argon2$argon2i$v=19$m=512,t=2,p=2$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
			"got another kind",
		},
		"Django argon2, memory": {
			"argon2$argon2id$v=19$m=10485760,t=2,p=8$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2G" +
				"RPPc",
			"at most 1 GiB",
		},
		"argon2id, work": {
			"$argon2id$v=19$m=1048576,t=5,p=8$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
			"4 GiB in all of them",
		},
		"Django bcrypt, cost": {
			"bcrypt_sha256$$2b$20$vUkhhCWnfSioXLBPgCFc/.0bhgj5NylIMti.ATNOQ3wZTXE21SQfy",
			"expected a bcrypt cost of 4 to 14",
		},
		"Django scrypt, work": {
			"scrypt$1048576$saltSALT$8$5$" + "JoHrTtzYR4dlGq/6l1LHv0MWJFLPpCr/ZwvvlJnwLJ0cmV6TDB9PH8+0xx" +
				"d6U2Zeox7WvLGWrcvepK4Xa1AC9w==",
			"expected scrypt with N of",
		},
		"PHC pbkdf2, rounds": {
			"$pbkdf2-sha256$i=4000000000$CqfVVJPMIkQLqX08u81S7Q$dfQy+UQMD1ddldNv4pkC4pRk8K2QPX1dQyEL8Smo" +
				"Csk",
			"expected 1000 to 2000000 rounds",
		},
		"PHC pbkdf2, other length": {
			"$pbkdf2-sha256$i=10000,l=16$CqfVVJPMIkQLqX08u81S7Q$dfQy+UQMD1ddldNv4pkC4pRk8K2QPX1dQyEL8Smo" +
				"Csk",
			"damaged",
		},
		"a scheme of nobody":       {"{CLEARTEXT}hunter2hunter2", "got another kind"},
		"a scheme without an end":  {"{SSHAhunter2hunter2", "a password itself must not stand here"},
		"crypt of another kind":    {"{CRYPT}$6$saltsalt$hunter2", "got another kind"},
		"SSHA, padding left out":   {"{SSHA}G6PqGS/c5UfB6EctRVpRNeK8aj5by5m", "damaged"},
		"SSHA, a line break":       {"{SSHA}G6PqGS/c5UfB6EctRVpR\nNeK8aj5by5mT", "damaged"},
		"a password with a dollar": {"Tr0ub4dor&3$hunter2", "a password itself must not stand here"},
		"a password in braces":     {"}{$hunter2", "a password itself must not stand here"},
	} {
		_, err := parseHash(c.encoded)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "saltsalt") {
			t.Errorf("%s: the error repeats it: %v", name, err)
		}
	}
}

// TestABadlyKeptPasswordTakesTheTimeOfAnother: an issuer computes argon2id along with a salted
// digest, by its own settings, and nothing tells the two apart by their cost.
func TestABadlyKeptPasswordTakesTheTimeOfAnother(t *testing.T) {
	f := newUsersFile(t,
		"users:\n- {name: old, password_hash: \"{SSHA}G6PqGS/c5UfB6EctRVpRNeK8aj5by5mT\"}\n")
	cfg := usersConfig(f.path)
	cfg.Argon2 = light
	s, err := Open(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	users := s.users.current.Load()
	old, known := users.accounts["old"]
	if !known {
		t.Fatal("there is no such user")
	}
	if got, want := old.hash.cost(), (&argon2id{params: light}).cost(); got != want {
		t.Errorf("it costs %+v, a hash of today %+v", got, want)
	}
	if got := users.costs.decoy("nobody").cost(); got != old.hash.cost() {
		t.Errorf("an unknown name costs %+v", got)
	}
	for want, password := range []string{"wrong", goldenPassword} {
		_ = try(s, "old", password, "192.0.2.1")
		if got := testutil.ToFloat64(s.metrics.weak); got != float64(want) {
			t.Errorf("%v logins with it are counted, want %d", got, want)
		}
	}
}
