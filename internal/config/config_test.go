package config_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/config"
)

// settings has every kind of setting that there is.
type settings struct {
	Name     string            `yaml:"name" usage:"the gate's name"`
	Enabled  bool              `yaml:"enabled"`
	Workers  int               `yaml:"workers"`
	Small    uint8             `yaml:"small"`
	Ratio    float64           `yaml:"ratio"`
	Trusted  []netip.Prefix    `yaml:"trusted"`
	Bind     netip.Addr        `yaml:"bind"`
	Audience []string          `yaml:"audience"`
	Optional *int              `yaml:"optional"`
	Mode     mode              `yaml:"mode"`
	Redis    redis             `yaml:"redis"`
	Issuers  []issuer          `yaml:"issuers"`
	Labels   map[string]string `yaml:"labels"`
	Sites    map[string]issuer `yaml:"sites"`
	Log      logging           `yaml:",inline"`
	Internal string            `yaml:"-"`
}

type redis struct {
	Address  string        `yaml:"address" usage:"host:port"`
	Timeout  time.Duration `yaml:"timeout"`
	Password config.Secret `yaml:"password"`
	Key      config.Secret `yaml:"key" file:"-"`
	TLS      struct {
		CAFile config.Path `yaml:"ca_file"`
	} `yaml:"tls"`
	NoFlag string `yaml:"no_flag" flag:"-"`
}

func (r redis) Validate() error {
	if r.Address == "" {
		return config.At("address", "expected host:port, got nothing")
	}
	if r.Timeout < 0 {
		return config.At("timeout", "expected 0 or more, got %v", r.Timeout)
	}
	return nil
}

type profile struct {
	MaxLifetime time.Duration `yaml:"max_lifetime"`
}

func (p *profile) SetDefaults() { p.MaxLifetime = time.Hour }

func (p profile) Validate() error {
	if p.MaxLifetime > 24*time.Hour {
		return config.At("max_lifetime", "expected at most 24h, got %v", p.MaxLifetime)
	}
	return nil
}

type issuer struct {
	Profile   profile  `yaml:",inline"`
	Issuer    string   `yaml:"issuer"`
	Audiences []string `yaml:"audiences"`
}

func (i *issuer) SetDefaults() { i.Profile.SetDefaults() }

func (i *issuer) Validate() error {
	errs := []error{i.Profile.Validate()}
	if i.Issuer == "" {
		errs = append(errs, config.At("issuer", "expected a URL, got nothing"))
	}
	if len(i.Audiences) == 0 {
		errs = append(errs,
			config.At("audiences", "expected at least one, got none: without one every audience would pass"))
	}
	return errors.Join(errs...)
}

type logging struct {
	LogLevel string `yaml:"log_level"`
}

type mode int

func (m *mode) UnmarshalText(b []byte) error {
	switch string(b) {
	case "enforce":
		*m = 1
	case "warn":
		*m = 2
	default:
		return errors.New("unknown mode")
	}
	return nil
}

func (mode) Expected() string { return "enforce or warn" }

func (m mode) String() string { return [...]string{"none", "enforce", "warn"}[m] }

func defaults() *settings {
	return &settings{
		Name: "gate", Workers: 4, Audience: []string{"default"}, Mode: 1,
		Redis: redis{Address: "127.0.0.1:6379", Timeout: time.Second}, Log: logging{LogLevel: "info"},
	}
}

// load loads one file's content, with an environment and arguments.
func load(t *testing.T, yaml string, env map[string]string, args ...string) (*settings, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "gate.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	s := defaults()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.BindFlags(fs, s)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	err := config.Load(s, config.Options{
		File: file, EnvPrefix: "SALLYPORT", Flags: fs,
		LookupEnv: func(k string) (string, bool) { v, ok := env[k]; return v, ok },
		Environ: func() (all []string) {
			for k, v := range env {
				all = append(all, k+"="+v)
			}
			return all
		},
	})
	if err != nil {
		err = errors.New(strings.ReplaceAll(err.Error(), file, "gate.yaml"))
	}
	return s, err
}

// TestEachFixtureIsRefusedInItsOwnWords loads each file of testdata/bad. The lines that begin it
// with "#= " are the whole error.
func TestEachFixtureIsRefusedInItsOwnWords(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range strings.Lines(string(b)) {
				if text, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "#= "); ok {
					want = append(want, file+":"+text)
				}
			}
			if len(want) == 0 {
				t.Fatal("the fixture does not say how it is refused")
			}
			err = config.Load(defaults(), config.Options{File: file})
			if err == nil {
				t.Fatal("loaded")
			}
			if got := err.Error(); got != strings.Join(want, "\n") {
				t.Errorf("refused with\n%s\nwant\n%s", got, strings.Join(want, "\n"))
			}
			if n := len(config.Problems(err)); n != len(want) {
				t.Errorf("%d problems, want %d", n, len(want))
			}
		})
	}
}

func TestEveryKindOfSettingIsFilled(t *testing.T) {
	s := defaults()
	if err := config.Load(s, config.Options{File: "testdata/good/every.yaml"}); err != nil {
		t.Fatal(err)
	}
	seven := 7
	want := &settings{
		Name:     "gate-1",
		Enabled:  true,
		Workers:  -3,
		Small:    255,
		Ratio:    0.5,
		Trusted:  []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
		Bind:     netip.MustParseAddr("::1"),
		Audience: []string{"one"},
		Optional: &seven,
		Mode:     2,
		Redis: redis{
			Address: "redis:6379", Timeout: 1500 * time.Millisecond,
			Password: config.NewSecret("hunter2"),
		},
		Issuers: []issuer{
			{Profile: profile{MaxLifetime: time.Hour}, Issuer: "https://a", Audiences: []string{"x", "y"}},
			{Profile: profile{MaxLifetime: time.Minute}, Issuer: "https://b", Audiences: []string{"z"}},
		},
		Labels: map[string]string{"env": "test", "a.b": "c"},
		Sites: map[string]issuer{
			"north": {
				Profile:   profile{MaxLifetime: time.Hour},
				Issuer:    "https://n",
				Audiences: []string{"n"},
			},
		},
		Log: logging{LogLevel: "debug"},
	}
	want.Redis.TLS.CAFile = "testdata/good/certs/ca.pem"
	if file := s.Redis.Password.File(); s.Redis.Password.Reveal() != "hunter2" ||
		filepath.Base(file) == file {
		t.Errorf("the password is not its file's: it has the file %q", file)
	}
	s.Redis.Password = want.Redis.Password
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got\n%+v\nwant\n%+v", s, want)
	}
}

func TestAnEmptyFileLeavesTheDefaults(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "\ufeff", "redis:\n", "{}"} {
		s, err := load(t, text, nil)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if !reflect.DeepEqual(s, defaults()) {
			t.Errorf("%q changed the defaults: %+v", text, s)
		}
	}
}

func TestFlagsWinOverTheEnvironmentWhichWinsOverTheFile(t *testing.T) {
	const file = "name: file\nworkers: 1\naudience: [file]\nredis: {timeout: 1s}\n"
	env := map[string]string{
		"SALLYPORT_NAME": "env", "SALLYPORT_WORKERS": "2", "SALLYPORT_AUDIENCE": "env1, env2",
		"SALLYPORT_REDIS_TIMEOUT": "2s",
	}
	cases := map[string]struct {
		env      map[string]string
		args     []string
		name     string
		workers  int
		audience string
		timeout  time.Duration
	}{
		"file":        {nil, nil, "file", 1, "file", time.Second},
		"environment": {env, nil, "env", 2, "env1 env2", 2 * time.Second},
		"flags": {
			env,
			[]string{
				"--name",
				"flag",
				"--workers=3",
				"--audience",
				"flag1",
				"--audience=flag2,flag3",
				"--redis-timeout",
				"3s",
			},
			"flag",
			3,
			"flag1 flag2 flag3",
			3 * time.Second,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, err := load(t, file, c.env, c.args...)
			if err != nil {
				t.Fatal(err)
			}
			if s.Name != c.name || s.Workers != c.workers || strings.Join(s.Audience, " ") != c.audience ||
				s.Redis.Timeout != c.timeout {
				t.Errorf("got %q %d %q %v", s.Name, s.Workers, s.Audience, s.Redis.Timeout)
			}
		})
	}
}

func TestOnlyFlagsThatTheUserSetCount(t *testing.T) {
	s, err := load(t, "name: file\nenabled: true\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "file" || !s.Enabled {
		t.Errorf("a flag's default won over the file: %+v", s)
	}
	if s, err = load(t, "enabled: true\n", nil, "--enabled=false"); err != nil || s.Enabled {
		t.Errorf("enabled %v, %v", s.Enabled, err)
	}
	if s, err = load(t, "", nil, "--enabled"); err != nil || !s.Enabled {
		t.Errorf("enabled %v, %v", s.Enabled, err)
	}
}

func TestAVariableThatIsSetCountsEvenWhenItIsEmpty(t *testing.T) {
	s, err := load(t, "name: file\naudience: [a]\n",
		map[string]string{"SALLYPORT_NAME": "", "SALLYPORT_AUDIENCE": ""})
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "" || len(s.Audience) != 0 {
		t.Errorf("got %q %q", s.Name, s.Audience)
	}
}

func TestProblemsNameTheVariableOrTheFlagThatGaveTheValue(t *testing.T) {
	_, err := load(t, "workers: 1\n", map[string]string{
		"SALLYPORT_WORKERS":       "many",
		"SALLYPORT_REDIS_ADDRESS": "",
		"SALLYPORT_SMALL":         "256",
		"SALLYPORT_RATIO":         "NaN",
	}, "--redis-timeout=-1s")
	want := strings.Join([]string{
		`SALLYPORT_WORKERS: expected a whole number, got "many"`,
		`SALLYPORT_SMALL: expected a whole number that fits uint8, got "256"`,
		`SALLYPORT_RATIO: expected a number, got "NaN"`,
		`SALLYPORT_REDIS_ADDRESS: expected host:port, got nothing`,
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	_, err = load(t, "", nil, "--redis-timeout=-1s")
	if err == nil || err.Error() != "--redis-timeout: expected 0 or more, got -1s" {
		t.Errorf("got %v", err)
	}
}

func TestAMisspeltVariableIsRefused(t *testing.T) {
	for _, name := range []string{
		"SALLYPORT_REDIS_ADRESS", "SALLYPORT_REDIS_ADDRES", "SALLYPORT_REDISADDRESS",
		"sallyport_redis_address",
	} {
		_, err := load(t, "redis: {address: 'a:1'}", map[string]string{name: "b:2"})
		if err == nil || err.Error() != name+": unknown variable; did you mean SALLYPORT_REDIS_ADDRESS?" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// What Kubernetes sets for Services, and what belongs to others.
	for _, name := range []string{
		"SALLYPORT_PORT", "SALLYPORT_SERVICE_HOST", "SALLYPORT_REDIS_PORT_6379_TCP_ADDR",
		"SALLYPORT_IMAGE", "REDIS_ADRESS",
	} {
		if _, err := load(t, "redis: {address: 'a:1'}",
			map[string]string{name: "tcp://10.0.0.1:80"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWithoutAFileAProblemNamesTheWaysToGiveTheSetting(t *testing.T) {
	s := &settings{}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.BindFlags(fs, s)
	for want, o := range map[string]config.Options{
		"redis.address (SALLYPORT_REDIS_ADDRESS, --redis-address): expected host:port, got nothing": {
			EnvPrefix: "SALLYPORT", Flags: fs,
		},
		"redis.address (SALLYPORT_REDIS_ADDRESS): expected host:port, got nothing": {
			EnvPrefix: "SALLYPORT",
		},
		"redis.address: expected host:port, got nothing": {},
	} {
		o.LookupEnv = func(string) (string, bool) { return "", false }
		if err := config.Load(&settings{}, o); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestContentThatWasReadAlreadyIsNotReadAgain: what is wrong with it is told with the file's name
// all the same, and its size is bounded.
func TestContentThatWasReadAlreadyIsNotReadAgain(t *testing.T) {
	for content, want := range map[string]string{
		"redis: {address: 'a:1'}": "",
		"redis: {adress: 'a:1'}":  "none.yaml:1:9: ",
		"":                        "",
		strings.Repeat("# x\n", config.MaxSize/4+1): "none.yaml: expected at most",
	} {
		s := defaults()
		err := config.Load(s, config.Options{File: "none.yaml", Content: []byte(content)})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %q", content, err, want)
		}
		if content != "" && want == "" && s.Redis.Address != "a:1" {
			t.Errorf("got %q", s.Redis.Address)
		}
	}
}

func TestAPathIsRelativeToTheFileThatNamesIt(t *testing.T) {
	cases := map[string]struct {
		file string
		env  map[string]string
		want func(dir string) string
	}{
		"file, relative": {
			"redis: {tls: {ca_file: certs/ca.pem}}",
			nil,
			func(dir string) string { return filepath.Join(dir, "certs/ca.pem") },
		},
		"file, absolute": {
			"redis: {tls: {ca_file: /etc/ca.pem}}",
			nil,
			func(string) string { return "/etc/ca.pem" },
		},
		"file, empty": {"redis: {tls: {ca_file: ''}}", nil, func(string) string { return "" }},
		"environment": {
			"",
			map[string]string{"SALLYPORT_REDIS_TLS_CA_FILE": "ca.pem"},
			func(string) string { return "ca.pem" },
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "a.yaml")
			if err := os.WriteFile(file, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			s := defaults()
			err := config.Load(s, config.Options{
				File: file, EnvPrefix: "SALLYPORT",
				LookupEnv: func(k string) (string, bool) { v, ok := c.env[k]; return v, ok },
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := string(s.Redis.TLS.CAFile); got != c.want(dir) {
				t.Errorf("got %q, want %q", got, c.want(dir))
			}
		})
	}
}

func TestAFileThatCannotBeReadIsRefused(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, []byte(strings.Repeat("# x\n", config.MaxSize/4+1)),
		0o600); err != nil {
		t.Fatal(err)
	}
	for want, file := range map[string]string{
		"config: cannot read the file: open " + dir + "/none.yaml: no such file or directory": dir + "/none.yaml",
		"config: cannot read the file: read " + dir + ": is a directory":                      dir,
		large + ": expected at most 1048576 bytes, got more":                                  large,
	} {
		if err := config.Load(defaults(), config.Options{File: file}); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestAStructThatNoFileCanFillIsRefused(t *testing.T) {
	type node struct {
		Inner []struct {
			Untagged string
		} `yaml:"inner"`
	}
	type loop struct {
		Next *loop `yaml:"next"`
	}
	type inLists struct {
		Untagged string
		Others   []inLists `yaml:"others"`
	}
	for want, dst := range map[string]any{
		"config: expected a pointer to a struct, got config_test.settings":                                   settings{},
		"config: expected a pointer to a struct, got *int":                                                   new(int),
		"config: field Untagged of struct { Untagged string } has no yaml tag: name it, or write yaml:\"-\"": &node{},
		"config: config_test.loop contains itself":                                                           &loop{},
		"config: field Untagged of config_test.inLists has no yaml tag: name it, or write yaml:\"-\"": &struct {
			Lists []inLists `yaml:"lists"`
		}{},
		"config: setting any has a type that no file can give: interface {}": &struct {
			Any any `yaml:"any"`
		}{},
		"config: settings a.b_c and a_b.c would share one variable: rename one": &shared{},
		"config: struct { A int \"yaml:\\\"x\\\"\"; B int \"yaml:\\\"x\\\"\" } has two settings named x": &struct {
			A int `yaml:"x"`
			B int `yaml:"x"`
		}{},
	} {
		if err := config.Load(dst, config.Options{}); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

type shared struct {
	A struct {
		BC string `yaml:"b_c"`
	} `yaml:"a"`
	AB struct {
		C string `yaml:"c"`
	} `yaml:"a_b"`
}

// either is a record with a list of its own kind.
type either struct {
	Name  string   `yaml:"name"`
	AnyOf []either `yaml:"anyOf"`
}

func (e either) Validate() error {
	if e.Name == "wrong" {
		return config.At("name", "expected another name")
	}
	return nil
}

// TestARecordMayHaveAListOfItsOwnKind, of which each is checked, and its place named.
func TestARecordMayHaveAListOfItsOwnKind(t *testing.T) {
	var dst struct {
		All []either `yaml:"all"`
	}
	yaml := "all:\n- {name: a, anyOf: [{name: b}, {anyOf: [{name: wrong}]}]}\n"
	err := config.Load(&dst, config.Options{File: "x.yaml", Content: []byte(yaml)})
	if err == nil || !strings.Contains(err.Error(),
		"x.yaml:2:48: all[0].anyOf[1].anyOf[0].name: expected another name") {
		t.Errorf("got %v", err)
	}
	if len(dst.All) != 1 || len(dst.All[0].AnyOf) != 2 || dst.All[0].AnyOf[0].Name != "b" {
		t.Errorf("got %+v", dst)
	}
}
