package mesh

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// rendered returns the files of a mesh with so many issuers and gates on ports counted from 10000,
// whose settings are changed so.
func rendered(t *testing.T, issuers, gates int, change ...func(*settings)) map[string]string {
	t.Helper()
	take := func(offset int, _ string) hostPort { return hostPort(address(10000 + offset)) }
	s := settings{
		Iss:              "http://127.0.0.1:10001",
		Audience:         "sallyport-demo",
		JWKS:             "http://127.0.0.1:10001/.well-known/jwks.json",
		Keys:             "./keys",
		UsersFile:        "./users.yaml",
		Processors:       2,
		Redis:            "127.0.0.1:10079",
		Gateway:          take(0, ""),
		EnvoyAdmin:       take(adminOffset, ""),
		Upstream:         take(upstreamOffset, ""),
		AllowedHeaders:   allowedHeaders,
		EncodeRawHeaders: true,
		Users: []userEntry{
			{Name: "alice", Roles: []string{"admin", "ops"}, PasswordHash: "$argon2id$x"},
			{Name: "bob", PasswordHash: "$argon2id$y"},
		},
	}
	for i := range issuers {
		s.Issuers = append(s.Issuers, newIssuer(i, take))
	}
	for i := range gates {
		s.Gates = append(s.Gates, newGate(i, take))
	}
	for _, f := range change {
		f(&s)
	}
	dir, files := t.TempDir(), map[string]string{}
	if err := s.writeConfig(dir, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{issuerFile, authzFile, envoyFile, usersFile} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(content)
	}
	return files
}

func TestEveryFileIsYAMLThatEndsInANewlineAndFitsAScreen(t *testing.T) {
	for name, content := range rendered(t, 2, 3) {
		var any map[string]any
		if err := yaml.Unmarshal([]byte(content), &any); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.HasSuffix(content, "\n") || strings.HasSuffix(content, "\n\n") {
			t.Errorf("%s does not end in one newline", name)
		}
		for line := range strings.Lines(content) {
			if len(line) > 135 && !strings.Contains(line, "serve --config") {
				t.Errorf("%s has a line of %d characters: %s", name, len(line), line)
			}
			if strings.TrimRight(line, " \t\n") != strings.TrimRight(line, "\n") {
				t.Errorf("%s has spaces at a line's end: %q", name, line)
			}
		}
	}
}

func TestTheFilesNameTheFlagsOfFurtherIssuersAndGates(t *testing.T) {
	files := rendered(t, 2, 2)
	for name, want := range map[string]string{
		issuerFile: "#   issuer serve --config issuer.yaml --name issuer-2 " +
			"--listen 127.0.0.1:10051 --admin-listen 127.0.0.1:10151\n",
		authzFile: "#   authz serve --config authz.yaml --name gate-2 --listen 127.0.0.1:10004 " +
			"--admin-listen 127.0.0.1:10104 --key-cache-dir ./cache/gate-2\n",
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("expected %q in\n%s", want, files[name])
		}
	}
	for name, content := range rendered(t, 1, 1) {
		if strings.Contains(content, "-2") {
			t.Errorf("%s speaks of a second one", name)
		}
	}
}

func TestEnvoyNeverLetsARequestPassUnasked(t *testing.T) {
	var file struct {
		StaticResources struct {
			Listeners []struct {
				FilterChains []struct {
					Filters []struct {
						TypedConfig struct {
							RouteConfig struct {
								VirtualHosts []struct {
									Routes []struct {
										Match  map[string]any `yaml:"match"`
										Filter map[string]any `yaml:"typed_per_filter_config"`
									} `yaml:"routes"`
								} `yaml:"virtual_hosts"`
							} `yaml:"route_config"`
							HTTPFilters []struct {
								Name        string         `yaml:"name"`
								TypedConfig map[string]any `yaml:"typed_config"`
							} `yaml:"http_filters"`
						} `yaml:"typed_config"`
					} `yaml:"filters"`
				} `yaml:"filter_chains"`
			} `yaml:"listeners"`
		} `yaml:"static_resources"`
	}
	if err := yaml.Unmarshal([]byte(rendered(t, 1, 1)[envoyFile]), &file); err != nil {
		t.Fatal(err)
	}
	manager := file.StaticResources.Listeners[0].FilterChains[0].Filters[0].TypedConfig
	filter := manager.HTTPFilters[0]
	if filter.Name != "envoy.filters.http.ext_authz" ||
		filter.TypedConfig["failure_mode_allow"] != false {
		t.Errorf("the first filter is %s, failure_mode_allow %v", filter.Name,
			filter.TypedConfig["failure_mode_allow"])
	}
	exempt := map[string]bool{}
	for _, route := range manager.RouteConfig.VirtualHosts[0].Routes {
		if _, overridden := route.Filter["envoy.filters.http.ext_authz"]; overridden {
			for _, by := range []string{"path", "prefix"} {
				if path, is := route.Match[by].(string); is {
					exempt[path] = true
				}
			}
		}
	}
	want := map[string]bool{
		"/login": true, "/refresh": true, "/logout": true, "/backchannel-logout": true,
		"/security-events": true,
		"/.well-known/":    true,
	}
	for path := range want {
		if !exempt[path] {
			t.Errorf("%s asks a gate", path)
		}
	}
	if len(exempt) != len(want) {
		t.Errorf("routes that ask no gate: %v", exempt)
	}
}

func TestChildrenDoNotInheritSettingsThatWouldWinOverTheirFiles(t *testing.T) {
	got := childEnvironment([]string{
		"PATH=/bin", "SALLYPORT_LISTEN=:1", "SALLYPORT_REDIS_ADDRESS=elsewhere:1",
		"SALLYPORT_REDIS_ADDRESSES=a,b", "SALLYPORT_REDIS_MODE=cluster",
		"SALLYPORT_REDIS_PASSWORD_FILE=/secret", "SALLYPORT_ENVOY=/envoy",
	})
	if want := "PATH=/bin SALLYPORT_REDIS_PASSWORD_FILE=/secret"; strings.Join(got, " ") != want {
		t.Errorf("expected %s, got %v", want, got)
	}
}

func TestAUserWithoutAPasswordGetsARandomOne(t *testing.T) {
	users := withPasswords([]User{{Name: "carol"}, {Name: "dave", Password: "kept"}})
	again := withPasswords([]User{{Name: "carol"}})
	if len(users[0].Password) < 16 || users[0].Password == again[0].Password ||
		users[1].Password != "kept" {
		t.Errorf("got %+v and %+v", users, again)
	}
	if strings.ContainsAny(users[0].Password, `"'\$ `) {
		t.Errorf("%q needs quotes in a shell", users[0].Password)
	}
}

// TestAFileOfSomebodysOwnIsNotOverwritten: only what was written here is written anew.
func TestAFileOfSomebodysOwnIsNotOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yaml")
	if err := mayReplace(path); err != nil {
		t.Errorf("a file that is not there: %v", err)
	}
	for content, may := range map[string]bool{
		"# Who may log in.\n#\n# Written by \"sallyport demo\", which writes it anew.\n": true,
		"users: [{name: precious}]\n": false,
		"":                            false,
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := mayReplace(path); (err == nil) != may {
			t.Errorf("%q: %v, expected that it may be replaced: %v", content, err, may)
		}
	}
}
