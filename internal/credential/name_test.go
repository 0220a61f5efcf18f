package credential

import (
	"strings"
	"testing"
)

func TestAllSpellingsOfANameAreOneName(t *testing.T) {
	for want, spellings := range map[string][]string{
		"alice": {
			"alice", "Alice", "ALICE", " alice", "alice\t\r\n", "\u00a0alice\u3000", "ａｌｉｃｅ", "ＡＬＩＣＥ",
		},
		"k":                 {"K", "k", "\u212a"}, // the Kelvin sign
		"åsa":               {"åsa", "Åsa", "A\u030asa", "a\u030asa", "\u212bsa"},
		"jos\u00e9":         {"jos\u00e9", "JOSE\u0301", "jose\u0301"},
		"alice@example.com": {"Alice@Example.COM"},
		"o'neil-2_x.y+z":    {"O'Neil-2_X.Y+Z"},
		"σίσυφοσ":           {"ΣΊΣΥΦΟΣ"},
		"αλέξης":            {"αλέξης"},
		"אבג":               {"אבג"},
		"王芳":                {"王芳"},
		"straße":            {"Straße"},
	} {
		for _, s := range spellings {
			if got, err := Normalize(s); err != nil || got != want {
				t.Errorf("%+q became %+q, %v; want %+q", s, got, err, want)
			}
		}
	}
}

func TestWhatIsNoNameIsRefused(t *testing.T) {
	for name, s := range map[string]string{
		"empty": "", "blank": " \t ", "blank inside": "al ice", "no-break space inside": "al\u00a0ice",
		"tab inside":        "al\tice",
		"line break inside": "al\nice", "NUL": "alice\x00", "escape": "\x1b[2Jalice",
		"invalid UTF-8":    "alice\xff",
		"zero-width space": "al\u200bice", "zero-width joiner": "al\u200dice",
		"soft hyphen": "al\u00adice", "byte order mark": "\ufeffalice",
		"right to left override": "\u202ealice", "variation selector": "alice\ufe0f",
		"ligature": "\ufb01nn", "superscript": "alice\u00b2",
		"circled": "\u24d0lice", "mathematical": "\U0001d41alice", "long s": "\u017fam",
		"emoji": "alice\U0001f600", "roman numeral": "\u2160",
		"private use": "\ue000", "unassigned": "\u0378", "too long": strings.Repeat("a", 257),
		"too long in blanks": " " + strings.Repeat("a", 257) + " ",
		"long once composed": strings.Repeat("\u1e9e", 86),
		"mixed directions":   "aאb", "tag": "a\U000e0041",
	} {
		if got, err := Normalize(s); err == nil {
			t.Errorf("%s: %+q became %+q", name, s, got)
		}
		if got := nameOrNone(s); got != noName {
			t.Errorf("%s: counted as %+q", name, got)
		}
	}
	if _, err := Normalize(noName); err == nil {
		t.Error("a user could have the name that stands for none")
	}
}

// FuzzNormalize holds that a normalised name is normal, short and plain, and that neither case nor
// composition nor blanks around it make another name of it.
func FuzzNormalize(f *testing.F) {
	for _, s := range []string{
		"alice", "ÅSA", "ＡＬＩＣＥ", "σς", "İ", "ı", "ß", "ẞ", "ﬁ", "K", "e\u0301", "אב", "ا", "\u0345", "ǅ",
		"ŉ",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := Normalize(s)
		if err != nil {
			return
		}
		if got == "" || len(got) > maxName || strings.TrimSpace(got) != got ||
			strings.ContainsAny(got, "\x00\r\n\x1b ") {
			t.Fatalf("%+q became %+q", s, got)
		}
		for _, again := range []string{got, " " + got + "\n"} {
			if twice, err := Normalize(again); err != nil || twice != got {
				t.Fatalf("%+q became %+q and then %+q, %v", s, got, twice, err)
			}
		}
	})
}

func TestANewPasswordMustBeTextOfSomeLength(t *testing.T) {
	for want, p := range map[string]string{
		"credential: expected a password of at least 8 characters, got fewer": "1234567",
		"credential: expected a password of at most 1024 bytes, got more":     strings.Repeat("a", 1025),
		"credential: expected a password without control characters, got one": "12345678\x00",
		"credential: expected a password in UTF-8, got other bytes":           "12345678\xff",
	} {
		if err := CheckNew(p); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	for _, p := range []string{
		"12345678", "correct horse battery staple", "пароль-пароль", strings.Repeat("a", 1024),
	} {
		if err := CheckNew(p); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
}
