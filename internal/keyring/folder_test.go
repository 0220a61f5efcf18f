package keyring

import (
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
)

func TestGenerateMakesARingOfAnActiveAndANextKey(t *testing.T) {
	b := newBench(t)
	keys, err := b.folder.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range keys {
		got = append(got, string(k.Use)+" "+string(k.State)+" "+k.Algorithm)
	}
	want := []string{
		"signing active ES256",
		"signing next ES256",
		"refresh active HS256",
		"refresh next HS256",
		"subject_tag active HS256",
	}
	if !slices.Equal(got, want) {
		t.Fatalf("expected %v, got %v", want, got)
	}
	for name := range b.listing() {
		if info, err := os.Stat(b.path(name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: expected mode 0600, got %v, %v", name, info.Mode(), err)
		}
	}
	if info, _ := os.Stat(b.folder.Dir); info.Mode().Perm() != 0o700 {
		t.Errorf("expected a folder with mode 0700, got %v", info.Mode())
	}
}

func TestGenerateLeavesAnExistingRingAsItIs(t *testing.T) {
	b := newBench(t)
	before := b.listing()
	if _, err := b.folder.Generate(t.Context(), "ES256"); !errors.Is(err, ErrExists) {
		t.Fatalf("expected ErrExists, got %v", err)
	}
	if !maps.Equal(before, b.listing()) {
		t.Fatal("the folder has changed")
	}
}

func TestEveryAlgorithmMakesARingThatSignsAndVerifies(t *testing.T) {
	// Of RSA's two kinds one each: the others differ in the hash.
	for _, alg := range []string{
		"ES256", "ES384", "ES512", "EdDSA", "RS256", "PS256", "HS256", "HS384", "HS512",
	} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, algorithm(alg))
			r := b.open()
			token := sign(t, r)
			k, ok := r.Public(signer(t, token))
			if !ok || k.Algorithm() != alg {
				t.Fatalf("expected the signing key for %s by its id, got %v", alg, k)
			}
			if symmetric(alg) {
				if string(r.KeySet()) != `{"keys":[]}` {
					t.Fatalf("a secret is published: %s", r.KeySet())
				}
				return
			}
			if !verifies(t, published(t, r.KeySet()), token) {
				t.Fatal("the JWKS does not verify the token")
			}
		})
	}
}

func TestRotateGoesOneStepRoundTheRing(t *testing.T) {
	b := newBench(t)
	active, next := b.key(Signing, Active), b.key(Signing, Next)
	b.clock.advance(time.Hour)
	if _, err := b.folder.Rotate(t.Context(), Signing, "EdDSA", false); err != nil {
		t.Fatal(err)
	}
	if got := b.key(Signing, Active); got.ID != next.ID || !got.Activated.Equal(b.clock.now()) {
		t.Errorf("expected %q to be active from now on, got %+v", next.ID, got)
	}
	if got := b.key(Signing, Retired); got.ID != active.ID || !got.Retired.Equal(b.clock.now()) {
		t.Errorf("expected %q to be retired now, got %+v", active.ID, got)
	}
	if got := b.key(Signing, Next); got.Algorithm != "EdDSA" || got.ID == next.ID {
		t.Errorf("expected a new next key for EdDSA, got %+v", got)
	}
	if r := b.open(); signer(t, sign(t, r)) != next.ID {
		t.Errorf("expected an issuer to sign with %q", next.ID)
	}
}

func TestNextKeyDoesNotSignBeforeEveryReaderKnowsIt(t *testing.T) {
	b := newBench(t)
	next := b.key(Signing, Next)
	wait := DefaultLifetimes().wait(Signing)
	if !next.Ready.Equal(next.Created.Add(wait)) {
		t.Fatalf("expected the next key to be ready %v after %v, got %v", wait, next.Created, next.Ready)
	}
	before := b.listing()
	b.clock.advance(wait - time.Second)
	steps := map[string]func() error{
		"rotate": func() error {
			_, err := b.folder.Rotate(t.Context(), Signing, "", false)
			return err
		},
		"promote": func() error { _, err := b.folder.Promote(t.Context(), next.ID, false); return err },
		"retire": func() error {
			_, err := b.folder.Retire(t.Context(), b.key(Signing, Active).ID, false)
			return err
		},
	}
	for name, step := range steps {
		if err := step(); !errors.Is(err, ErrTooEarly) ||
			!strings.Contains(err.Error(), next.Ready.Format(time.RFC3339)) {
			t.Errorf("%s: expected ErrTooEarly with the time from when on, got %v", name, err)
		}
	}
	if !maps.Equal(before, b.listing()) {
		t.Fatal("a refused step has changed the folder")
	}
	b.clock.advance(time.Second)
	if err := steps["promote"](); err != nil {
		t.Fatalf("expected the key to be ready by now, got %v", err)
	}
}

func TestForcedPromotionNeedsNoWait(t *testing.T) {
	b := newBench(t)
	next := b.key(Signing, Next)
	k, err := b.folder.Promote(t.Context(), next.ID, true)
	if err != nil || k.State != Active || k.ID != next.ID {
		t.Fatalf("expected %q to be active, got %+v, %v", next.ID, k, err)
	}
}

func TestIssuersLongerLifetimesCountForCommands(t *testing.T) {
	b := newBench(t, rotating(24*time.Hour))
	b.edit(func(m *manifest) { m.Lifetimes = Lifetimes{} })
	b.open().tend(t.Context())
	next := b.key(Signing, Next)
	if got, want := next.Ready.Sub(
		next.Created), 15*time.Minute+2*time.Minute+time.Minute; got != want {
		t.Fatalf("expected a command to wait for the issuer's %v, got %v", want, got)
	}
}

// When nobody rotates but the operator, the folder has to be told: by shorter lifetimes a command
// would drop keys whose tokens are still valid.
func TestFolderWithShorterLifetimesThanTheIssuersIsToldOf(t *testing.T) {
	b := newBench(t)
	before := b.read(manifestFile)
	o := b.options()
	o.MaxLifetime, o.PublishFor = 8*time.Hour, time.Hour
	r, err := Open(b.config, o)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r.tend(t.Context())
	}
	if n := strings.Count(b.log.String(), "sallyport keys lifetimes"); n != 1 ||
		!strings.Contains(b.log.String(), "--key-set-max-age=1h0m0s --max-lifetime=8h0m0s") {
		t.Errorf("expected to be told once what to do, got %d times in %s", n, b.log)
	}
	if b.metric("sallyport_keyring_short_lifetimes") != 1 || b.read(manifestFile) != before {
		t.Error("expected a metric and an unchanged folder")
	}

	operator := &Folder{
		Dir: b.folder.Dir, Now: b.clock.now,
		Lifetimes: Lifetimes{Token: 8 * time.Hour, Publish: time.Hour, Spread: time.Second},
	}
	want := DefaultLifetimes()
	want.Token, want.Publish = 8*time.Hour, time.Hour
	if got, err := operator.Lengthen(t.Context()); err != nil || got != want {
		t.Fatalf("expected the longest of each, %+v, got %+v, %v", want, got, err)
	}
	after := b.read(manifestFile)
	if got, err := operator.Lengthen(t.Context()); err != nil || got != want ||
		b.read(manifestFile) != after {
		t.Errorf("expected nothing to be written for nothing, got %+v, %v", got, err)
	}
	r.tend(t.Context())
	if b.metric("sallyport_keyring_short_lifetimes") != 0 {
		t.Error("the metric still warns")
	}

	b.clock.advance(DefaultLifetimes().wait(Signing))
	if _, err := b.folder.Rotate(t.Context(), Signing, "", false); !errors.Is(err, ErrTooEarly) {
		t.Errorf("expected the next key to be published for the issuer's hour, got %v", err)
	}
	b.clock.advance(time.Hour)
	token := sign(t, r)
	for range 5 { // each step drops what has nothing left to verify
		if _, err := b.folder.Rotate(t.Context(), Signing, "", false); err != nil {
			t.Fatal(err)
		}
		if err := r.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !verifies(t, published(t, r.KeySet()), token) {
			t.Fatal("a key is gone whose tokens are still valid")
		}
		b.clock.advance(90 * time.Minute)
	}
}

// A set with more keys than gates read would leave them without every key that comes later.
func TestRingDoesNotOutgrowWhatGatesRead(t *testing.T) {
	b := newBench(t, algorithm("EdDSA"))
	b.edit(func(m *manifest) {
		for m.signing() < jose.MaxKeys-2 { // without files: no command reads those of retired keys
			e, _, err := newKey(Signing, "EdDSA", b.clock.now())
			b.must(err)
			e.State, e.Activated, e.Retired = Retired, b.clock.now(), b.clock.now()
			m.Keys = append(m.Keys, e)
		}
	})
	for range 2 {
		if _, err := b.folder.Rotate(t.Context(), Signing, "", true); err != nil {
			t.Fatal(err)
		}
	}
	before := b.read(manifestFile)
	if _, err := b.folder.Rotate(t.Context(), Signing, "",
		true); err == nil || !strings.Contains(err.Error(), "100 signing keys") ||
		b.read(manifestFile) != before {
		t.Fatalf("expected the step to be refused, got %v", err)
	}
	if _, err := b.folder.Remove(t.Context(), b.key(Signing, Retired).ID); err != nil {
		t.Errorf("expected a key to be taken out all the same, got %v", err)
	}
	b.clock.advance(2 * time.Hour)
	if _, err := b.folder.Rotate(t.Context(), Signing, "", true); err != nil {
		t.Errorf("expected room after the retired keys' time, got %v", err)
	}
}

func TestRotationTooOftenForTheLifetimeOfTokensIsRefusedAtTheStart(t *testing.T) {
	b := newBench(t, rotating(20*time.Minute))
	o := b.options()
	o.MaxLifetime = 48 * time.Hour
	if _, err := Open(b.config, o); err == nil ||
		!strings.Contains(err.Error(), "more than 100 keys") {
		t.Errorf("expected a refusal that says why, got %v", err)
	}
	b.other()
}

func TestLifetimesBelowZeroAreRefused(t *testing.T) {
	b := newBench(t)
	if _, err := (&Folder{Dir: b.folder.Dir, Lifetimes: Lifetimes{Token: -1}}).Lengthen(
		t.Context()); err == nil {
		t.Error("accepted")
	}
}

func TestRetireTakesANextKeyOut(t *testing.T) {
	b := newBench(t)
	next := b.key(Signing, Next)
	if _, err := b.folder.Retire(t.Context(), next.ID, false); err != nil {
		t.Fatal(err)
	}
	if _, there := b.listing()[next.File]; there {
		t.Error("the file is still there")
	}
	if _, err := b.folder.Retire(t.Context(), b.key(Signing, Active).ID, true); err == nil ||
		!strings.Contains(err.Error(), "rotate first") {
		t.Errorf("expected the last signing key to stay, got %v", err)
	}
	if _, err := b.folder.Rotate(t.Context(), Signing, "", false); err != nil {
		t.Fatal(err)
	}
	if got := b.key(Signing, Next); got.ID == next.ID {
		t.Errorf("expected a new next key, got %+v", got)
	}
}

func TestRemovedKeyIsGoneAtOnce(t *testing.T) {
	for _, use := range []Use{Signing, Refresh} {
		for _, state := range []State{Active, Next, Retired} {
			t.Run(string(use)+" "+string(state), func(t *testing.T) {
				b := newBench(t)
				if state == Retired {
					if _, err := b.folder.Rotate(t.Context(), use, "", true); err != nil {
						t.Fatal(err)
					}
				}
				r := b.open()
				was := b.key(use, state)
				if _, err := b.folder.Remove(t.Context(), was.ID); err != nil {
					t.Fatal(err)
				}
				if _, there := b.listing()[was.File]; there {
					t.Error("its file is still there")
				}
				if err := r.Reload(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, known := published(t, r.KeySet())[was.ID]; known {
					t.Error("it is still published")
				}
				if !verifies(t, published(t, r.KeySet()), sign(t, r)) {
					t.Error("the ring signs with a key that it does not publish")
				}
			})
		}
	}
}

func TestRemovingTheLastKeyMakesANewOne(t *testing.T) {
	b := newBench(t)
	active, next := b.key(Signing, Active), b.key(Signing, Next)
	for _, kid := range []string{next.ID, active.ID} {
		if _, err := b.folder.Remove(t.Context(), kid); err != nil {
			t.Fatal(err)
		}
	}
	r := b.open()
	if kid := signer(t, sign(t, r)); kid == active.ID || kid == next.ID {
		t.Fatalf("the ring still signs with %q", kid)
	}
	if b.key(Signing, Next).Algorithm != "ES256" {
		t.Error("expected a new next key, too")
	}
}

func TestSubjectTagKeyStays(t *testing.T) {
	b := newBench(t)
	tag := b.key(SubjectTag, Active)
	if _, err := b.folder.Remove(t.Context(), tag.ID); !errors.Is(err, errTagStays) {
		t.Errorf("remove: expected a refusal, got %v", err)
	}
	if _, err := b.folder.Retire(t.Context(), tag.ID, true); !errors.Is(err, errTagStays) {
		t.Errorf("retire: expected a refusal, got %v", err)
	}
	if _, err := b.folder.Rotate(t.Context(), SubjectTag, "", true); err == nil {
		t.Error("rotate: expected a refusal")
	}
}

func TestStepsOnAnUnknownKeyAreRefused(t *testing.T) {
	b := newBench(t)
	_, promote := b.folder.Promote(t.Context(), "nobody", true)
	_, retire := b.folder.Retire(t.Context(), "nobody", true)
	_, remove := b.folder.Remove(t.Context(), "nobody")
	for name, err := range map[string]error{"promote": promote, "retire": retire, "remove": remove} {
		if !errors.Is(err, ErrUnknownKey) {
			t.Errorf("%s: expected ErrUnknownKey, got %v", name, err)
		}
	}
	if _, err := b.folder.Promote(t.Context(), b.key(Signing, Active).ID, true); err == nil ||
		!strings.Contains(err.Error(), "expected a next one") {
		t.Errorf("promote an active key: expected a refusal, got %v", err)
	}
}

func TestFolderWithoutARingSaysHowToMakeOne(t *testing.T) {
	f := &Folder{Dir: t.TempDir()}
	if err := os.Chmod(f.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := f.List(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "sallyport keygen") {
		t.Fatalf("expected the command that makes a ring, got %v", err)
	}
}

// TestNoNewKeyLooksLikeAnOption: an operator types the name of a key after a command.
func TestNoNewKeyLooksLikeAnOption(t *testing.T) {
	for range 2000 { // of as many names by chance, some 30 would begin with a dash
		k, _, err := newKey(Signing, "EdDSA", time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		if err != nil {
			t.Fatal(err)
		}
		if k.ID[0] == '-' {
			t.Fatalf("a key is named %q", k.ID)
		}
	}
}

func TestANewRingHasTheTimesThatItsFolderNames(t *testing.T) {
	short := Lifetimes{
		Publish: time.Second, Token: time.Minute, Session: time.Hour, Spread: time.Second,
	}
	f := &Folder{Dir: t.TempDir(), Lifetimes: short}
	keys, err := f.Generate(t.Context(), "EdDSA")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if k.Use == Signing && k.State == Next && k.Ready.Sub(k.Created) != short.wait(Signing) {
			t.Errorf("the next key may sign %v after it was made, expected %v",
				k.Ready.Sub(k.Created), short.wait(Signing))
		}
	}
}
