package config_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/config"
)

// renamed has settings that had other names once: one moved, and a whole mapping of them.
type renamed struct {
	HTTP struct {
		Listen string `yaml:"listen"`
	} `yaml:"http"`
	Drain struct {
		Delay time.Duration `yaml:"delay"`
	} `yaml:"drain"`
	Audit struct {
		Rate  float64 `yaml:"rate"`
		Burst int     `yaml:"burst" flag:"-"`
	} `yaml:"audit"`
}

func (renamed) FormerNames() map[string]string {
	return map[string]string{"http.drain_delay": "drain.delay", "checks.audit": "audit"}
}

// loadRenamed loads a file's text, variables and flags, and returns what was warned of.
func loadRenamed(t *testing.T, text string, env map[string]string, args ...string) (c renamed,
	warnings []string, err error) {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.BindFlags(flags, &renamed{})
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	o := config.Options{
		File: "a.yaml", Content: []byte(text), EnvPrefix: "SALLYPORT", Flags: flags,
		LookupEnv: func(name string) (string, bool) { value, set := env[name]; return value, set },
		Environ: func() []string {
			var all []string
			for _, name := range slices.Sorted(maps.Keys(env)) {
				all = append(all, name+"="+env[name])
			}
			return all
		},
		Warn: func(p *config.Problem) { warnings = append(warnings, p.Error()) },
	}
	err = config.Load(&c, o)
	return c, warnings, err
}

// TestAFormerNameIsAcceptedAndSaysWhatToWrite in the file, the environment and as a flag.
func TestAFormerNameIsAcceptedAndSaysWhatToWrite(t *testing.T) {
	const former = ": this is a former name, which is still accepted: write "
	for name, row := range map[string]struct {
		text     string
		env      map[string]string
		args     []string
		warnings []string
	}{
		"in the file": {
			text: "http: {listen: a, drain_delay: 3s}\nchecks: {audit: {rate: 2, burst: 7}}\n",
			warnings: []string{
				"a.yaml:2:10: checks.audit" + former + "audit",
				"a.yaml:1:19: http.drain_delay" + former + "drain.delay",
			},
		},
		"beside a mapping with nothing in it": {
			text: "drain:\nhttp:\n  drain_delay: 3s\naudit: {rate: 2, burst: 7}\n",
			warnings: []string{
				"a.yaml:3:3: http.drain_delay" + former + "drain.delay",
			},
		},
		"in the environment": {
			text: "audit: {burst: 7}\n",
			env:  map[string]string{"SALLYPORT_HTTP_DRAIN_DELAY": "3s", "SALLYPORT_CHECKS_AUDIT_RATE": "2"},
			warnings: []string{
				"SALLYPORT_HTTP_DRAIN_DELAY" + former + "SALLYPORT_DRAIN_DELAY",
				"SALLYPORT_CHECKS_AUDIT_RATE" + former + "SALLYPORT_AUDIT_RATE",
			},
		},
		"as a flag": {
			text: "audit: {burst: 7}\n",
			args: []string{"--http-drain-delay", "3s", "--checks-audit-rate", "2"},
			warnings: []string{
				"--http-drain-delay" + former + "--drain-delay",
				"--checks-audit-rate" + former + "--audit-rate",
			},
		},
		"a flag over a former name in the file": {
			text:     "http: {drain_delay: 1s}\naudit: {rate: 2, burst: 7}\n",
			args:     []string{"--drain-delay", "3s"},
			warnings: []string{"a.yaml:1:8: http.drain_delay" + former + "drain.delay"},
		},
		"a former variable over the file": {
			text:     "drain: {delay: 1s}\naudit: {rate: 2, burst: 7}\n",
			env:      map[string]string{"SALLYPORT_HTTP_DRAIN_DELAY": "3s"},
			warnings: []string{"SALLYPORT_HTTP_DRAIN_DELAY" + former + "SALLYPORT_DRAIN_DELAY"},
		},
		"today's names": {text: "drain: {delay: 3s}\naudit: {rate: 2, burst: 7}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c, warnings, err := loadRenamed(t, row.text, row.env, row.args...)
			if err != nil {
				t.Fatal(err)
			}
			if c.Drain.Delay != 3*time.Second || c.Audit.Rate != 2 || c.Audit.Burst != 7 {
				t.Errorf("got %+v", c)
			}
			if !slices.Equal(warnings, row.warnings) {
				t.Errorf("expected the warnings\n%s\ngot\n%s", strings.Join(row.warnings, "\n"),
					strings.Join(warnings, "\n"))
			}
		})
	}
}

// TestASettingGivenByBothItsNamesIsRefused, and what is wrong with a value names the place where it
// was given, under whatever name.
func TestASettingGivenByBothItsNamesIsRefused(t *testing.T) {
	for name, row := range map[string]struct {
		text string
		env  map[string]string
		args []string
		want string
	}{
		"in the file": {
			text: "drain: {delay: 1s}\nhttp:\n  drain_delay: 3s\n",
			want: "a.yaml:3:3: http.drain_delay: expected this or drain.delay, its name today, got both: " +
				"line 1 has the other",
		},
		"a mapping in the file": {
			text: "audit: {rate: 1}\nchecks: {audit: {burst: 3}}\n",
			want: "a.yaml:2:10: checks.audit: expected this or audit, its name today, got both: line 1 " +
				"has the other",
		},
		"in the environment": {
			env: map[string]string{"SALLYPORT_HTTP_DRAIN_DELAY": "3s", "SALLYPORT_DRAIN_DELAY": "3s"},
			want: "SALLYPORT_HTTP_DRAIN_DELAY: expected SALLYPORT_DRAIN_DELAY or " +
				"SALLYPORT_HTTP_DRAIN_DELAY, got both",
		},
		"as flags": {
			args: []string{"--http-drain-delay", "3s", "--drain-delay", "3s"},
			want: "--http-drain-delay: expected --drain-delay or --http-drain-delay, got both",
		},
		"a bad value in the file": {
			text: "http:\n  drain_delay: soon\n",
			want: `a.yaml:2:16: drain.delay: expected a duration such as "10s", got "soon"`,
		},
		"a bad value in the environment": {
			env:  map[string]string{"SALLYPORT_HTTP_DRAIN_DELAY": "soon"},
			want: `SALLYPORT_HTTP_DRAIN_DELAY: expected a duration such as "10s", got "soon"`,
		},
		"a key that was never there": {
			text: "checks: {audit: {rat: 1}}\n",
			want: "a.yaml:1:18: audit.rat: unknown key: did you mean rate?",
		},
		"a scalar where the mapping of today would be": {
			text: "drain: 3s\nhttp: {drain_delay: 3s}\n",
			want: "a.yaml:1:8: drain: expected a mapping of settings, got a string",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := loadRenamed(t, row.text, row.env, row.args...); err == nil ||
				!strings.Contains(err.Error()+"\n", row.want+"\n") {
				t.Errorf("expected %s\ngot %v", row.want, err)
			}
		})
	}
}

// TestAFormerNameIsNotShown in the help, and a slip of it is not offered.
func TestAFormerNameIsNotShown(t *testing.T) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.BindFlags(flags, &renamed{})
	if usage := flags.FlagUsages(); strings.Contains(usage, "http-drain-delay") ||
		!strings.Contains(usage, "--drain-delay") {
		t.Errorf("got %s", usage)
	}
}

type misnamed struct {
	Delay time.Duration `yaml:"delay"`
}

func (misnamed) FormerNames() map[string]string { return map[string]string{"old": "dellay"} }

func TestAFormerNameOfNothingIsAMistake(t *testing.T) {
	if err := config.Load(&misnamed{}, config.Options{}); err == nil ||
		!strings.Contains(err.Error(), "dellay") {
		t.Errorf("got %v", err)
	}
}
