package tools

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// compose reads docker-compose.yaml as Docker Compose does.
func compose(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yaml")},
		cli.WithName("sallyport"), cli.WithResolvedPaths(true), cli.WithWorkingDirectory(root))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// once are the services that do their work and end.
var once = []string{"keys"}

func TestComposeHasEveryPart(t *testing.T) {
	want := []string{"authz", "envoy", "issuer", "keys", "redis", "upstream"}
	if got := slices.Sorted(slices.Values(compose(t).ServiceNames())); !slices.Equal(got, want) {
		t.Errorf("services: %v, expected %v", got, want)
	}
}

// TestComposeReadsOnOldVersions: Compose 1.29 refuses name, and newer ones warn of version.
func TestComposeReadsOnOldVersions(t *testing.T) {
	for line := range strings.Lines(readFile(t, "docker-compose.yaml")) {
		for _, key := range []string{"name:", "version:", "configs:", "include:"} {
			if strings.HasPrefix(line, key) {
				t.Errorf("top-level %s", key)
			}
		}
	}
}

func TestEveryServiceIsLockedDown(t *testing.T) {
	for name, s := range compose(t).Services {
		if !s.ReadOnly {
			t.Errorf("%s: its root file system can be written", name)
		}
		if !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 {
			t.Errorf("%s: cap_drop is %v and cap_add %v, expected [ALL] and nothing", name, s.CapDrop, s.CapAdd)
		}
		if !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: no-new-privileges is not set", name)
		}
		if s.Privileged || s.NetworkMode == "host" || s.Pid != "" || s.Ipc != "" || len(s.Devices) > 0 {
			t.Errorf("%s: it is privileged or shares a namespace or device with the host", name)
		}
		if uid, _, _ := strings.Cut(s.User, ":"); uid == "" || uid == "0" || uid == "root" {
			t.Errorf("%s: it runs as user %q, expected a number other than 0", name, s.User)
		}
		if s.PidsLimit == 0 {
			t.Errorf("%s: no limit on its processes", name)
		}
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind && (!v.ReadOnly || strings.Contains(v.Source, "docker.sock")) {
				t.Errorf("%s: it can write to %s of the host", name, v.Source)
			}
		}
	}
}

func TestEveryServiceHasAHealthCheck(t *testing.T) {
	project := compose(t)
	for name, s := range project.Services {
		if slices.Contains(once, name) {
			continue
		}
		if s.HealthCheck == nil || s.HealthCheck.Disable || len(s.HealthCheck.Test) < 2 {
			t.Errorf("%s: no health check", name)
		}
		if s.Restart != types.RestartPolicyUnlessStopped {
			t.Errorf("%s: restart is %q", name, s.Restart)
		}
		for needed, how := range s.DependsOn {
			want := types.ServiceConditionHealthy
			if slices.Contains(once, needed) {
				want = types.ServiceConditionCompletedSuccessfully
			}
			if how.Condition != want || !how.Required {
				t.Errorf("%s starts when %s is %s, expected %s", name, needed, how.Condition, want)
			}
		}
	}
	for name, needs := range map[string][]string{"issuer": {"keys", "redis"}, "authz": {"issuer", "redis"}, "envoy": {"authz", "issuer", "upstream"}} {
		if got := slices.Sorted(slices.Values(project.Services[name].GetDependencies())); !slices.Equal(got, needs) {
			t.Errorf("%s depends on %v, expected %v", name, got, needs)
		}
	}
}

// TestSecretsComeAsFiles: none is in an environment variable, a command or an inline config; each service has only its own.
func TestSecretsComeAsFiles(t *testing.T) {
	project := compose(t)
	for name, s := range project.Secrets {
		if s.File == "" || s.Environment != "" || s.Content != "" {
			t.Errorf("secret %s does not come from a file", name)
		}
		if filepath.Base(s.File) != name {
			t.Errorf("secret %s comes from %s: expected the same name", name, s.File)
		}
	}
	for name, s := range project.Services {
		if len(s.Environment) > 0 || len(s.EnvFiles) > 0 {
			t.Errorf("%s has environment variables, where settings leak from: %v", name, s.Environment)
		}
	}
	want := map[string][]string{
		"issuer": {"admin_token", "redis_ca.crt", "redis_issuer_password", "users.yaml"},
		"authz":  {"redis_ca.crt", "redis_gate_password"},
		"redis":  {"redis.crt", "redis.key", "redis_ca.crt", "redis_gate_password", "redis_users.acl"},
		"envoy":  nil, "upstream": nil, "keys": nil,
	}
	for name, s := range project.Services {
		var got []string
		for _, secret := range s.Secrets {
			got = append(got, secret.Source)
		}
		slices.Sort(got)
		if !slices.Equal(got, want[name]) {
			t.Errorf("%s gets the secrets %v, expected %v", name, got, want[name])
		}
	}
}

// TestOnlyTheGatewayIsReachable: one published port, on loopback, and Redis on a network that Envoy and the upstream are not on.
func TestOnlyTheGatewayIsReachable(t *testing.T) {
	project := compose(t)
	for name, s := range project.Services {
		if name != "envoy" && len(s.Ports) > 0 {
			t.Errorf("%s publishes a port", name)
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" || p.Target != 10000 {
				t.Errorf("%s publishes port %d on %q, expected the gateway's on 127.0.0.1", name, p.Target, p.HostIP)
			}
		}
	}
	for network, want := range map[string][]string{
		"edge":    {"envoy"},
		"service": {"envoy", "upstream"},
		"mesh":    {"authz", "envoy", "issuer"},
		"store":   {"authz", "issuer", "redis"},
	} {
		var got []string
		for name, s := range project.Services {
			if _, ok := s.Networks[network]; ok {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("on network %s: %v, expected %v", network, got, want)
		}
		if internal := bool(project.Networks[network].Internal); internal != (network != "edge") {
			t.Errorf("network %s: internal is %v", network, internal)
		}
	}
}

// TestComposeAndKubernetesRunTheSameImages keeps the two from drifting apart.
func TestComposeAndKubernetesRunTheSameImages(t *testing.T) {
	project := compose(t)
	manifests := readFile(t, "k8s/base/redis.yaml") + readFile(t, "k8s/base/envoy.yaml")
	for _, name := range []string{"redis", "envoy"} {
		if image := project.Services[name].Image; !strings.Contains(manifests, "image: "+image+"\n") {
			t.Errorf("k8s/base does not run %s", image)
		}
	}
	if project.Services["issuer"].Image != "sallyport:local" || project.Services["issuer"].Build == nil {
		t.Error("the issuer's image is not built here")
	}
}
