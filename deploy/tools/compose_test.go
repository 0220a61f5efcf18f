package tools

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// composeInside puts the gate into Envoy, on top of docker-compose.yaml.
const composeInside = "deploy/in-process/compose.yaml"

// compose reads docker-compose.yaml, and what is on top of it, as Docker Compose does.
func compose(t *testing.T, onTop ...string) *types.Project {
	t.Helper()
	files := []string{filepath.Join(root, "docker-compose.yaml")}
	for _, name := range onTop {
		files = append(files, filepath.Join(root, name))
	}
	options, err := cli.NewProjectOptions(files,
		cli.WithName("sallyport"), cli.WithProfiles([]string{"*"}), cli.WithResolvedPaths(true),
		cli.WithWorkingDirectory(root))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// stacks returns what a user may bring up, with the gate beside Envoy and inside it.
func stacks(t *testing.T) map[string]*types.Project {
	t.Helper()
	return map[string]*types.Project{"beside": compose(t), "inside": compose(t, composeInside)}
}

// once are the services that do their work and end; the operator's is started by hand.
var once = []string{"keys", "operator"}

func TestComposeHasEveryPart(t *testing.T) {
	parts := map[string][]string{
		"beside": {"authz", "envoy", "issuer", "keys", "operator", "redis", "upstream"},
		"inside": {"envoy", "issuer", "keys", "operator", "redis", "upstream"},
	}
	for stack, project := range stacks(t) {
		got := slices.Sorted(slices.Values(project.ServiceNames()))
		if want := parts[stack]; !slices.Equal(got, want) {
			t.Errorf("services %s: %v, expected %v", stack, got, want)
		}
		for name, s := range project.Services {
			if byHand := len(s.Profiles) > 0; byHand != (name == "operator") {
				t.Errorf("%s has the profiles %v: only the operator is not started with the others",
					name, s.Profiles)
			}
		}
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
		if strings.Contains(line, "create_host_path") {
			t.Error("create_host_path, which Compose 1.29 does not know either")
		}
	}
}

func TestEveryServiceIsLockedDown(t *testing.T) {
	for stack, project := range stacks(t) {
		t.Run(stack, func(t *testing.T) { everyServiceIsLockedDown(t, project) })
	}
}

func everyServiceIsLockedDown(t *testing.T, project *types.Project) {
	t.Helper()
	for name, s := range project.Services {
		if !s.ReadOnly {
			t.Errorf("%s: its root file system can be written", name)
		}
		if !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 {
			t.Errorf("%s: cap_drop is %v and cap_add %v, expected [ALL] and nothing", name,
				s.CapDrop, s.CapAdd)
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
			// The operator's command changes the users' file.
			may := name == "operator" && strings.HasSuffix(v.Source, "/deploy/secrets/issuer")
			if v.Type == types.VolumeTypeBind &&
				(!v.ReadOnly && !may || strings.Contains(v.Source, "docker.sock")) {
				t.Errorf("%s: it can write to %s of the host", name, v.Source)
			}
		}
	}
}

func TestEveryServiceHasAHealthCheck(t *testing.T) {
	for stack, needs := range map[string]map[string][]string{
		"beside": {
			"issuer": {"keys", "redis"}, "authz": {"issuer", "redis"},
			"envoy": {"authz", "issuer", "upstream"},
		},
		"inside": {"issuer": {"keys", "redis"}, "envoy": {"issuer", "redis", "upstream"}},
	} {
		t.Run(stack, func(t *testing.T) { everyServiceHasAHealthCheck(t, stacks(t)[stack], needs) })
	}
}

func everyServiceHasAHealthCheck(t *testing.T, project *types.Project,
	dependencies map[string][]string) {
	t.Helper()
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
	for name, needs := range dependencies {
		got := slices.Sorted(slices.Values(project.Services[name].GetDependencies()))
		if !slices.Equal(got, needs) {
			t.Errorf("%s depends on %v, expected %v", name, got, needs)
		}
	}
}

// TestAReplacedFileIsSeenInside: programs and editors replace a file by another of its name, and a
// mount of the one file goes on showing the old one. So every mount from the host is a folder.
func TestAReplacedFileIsSeenInside(t *testing.T) {
	for stack, project := range stacks(t) {
		t.Run(stack, func(t *testing.T) { everyMountIsAFolder(t, project) })
	}
}

func everyMountIsAFolder(t *testing.T, project *types.Project) {
	t.Helper()
	_, secrets := programs(t)
	if len(project.Secrets)+len(project.Configs) > 0 {
		t.Errorf("secrets %v, configs %v: Compose mounts each as a single file",
			project.SecretNames(), project.ConfigNames())
	}
	mounted := 0
	for name, s := range project.Services {
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			mounted++
			source := strings.Replace(v.Source,
				filepath.Join(absolute(t, root), "deploy/secrets"), secrets, 1)
			if info, err := os.Stat(source); err != nil || !info.IsDir() {
				t.Errorf("%s mounts %s, which is no folder: %v", name, v.Source, err)
			}
		}
	}
	if mounted < 7 {
		t.Errorf("only %d mounts from the host: the search does not see what it should", mounted)
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSecretsComeAsFiles: none is in an environment variable or a command; each service has the
// folder of its own, and in it what it needs and no more.
func TestSecretsComeAsFiles(t *testing.T) {
	_, secrets := programs(t)
	for stack, owners := range map[string]map[string]string{
		"beside": {"issuer": "issuer", "operator": "issuer", "authz": "authz", "redis": "redis"},
		"inside": {"issuer": "issuer", "operator": "issuer", "envoy": "authz", "redis": "redis"},
	} {
		t.Run(stack, func(t *testing.T) { secretsAreInFoldersOfTheir(t, stacks(t)[stack], owners) })
	}
	for folder, want := range map[string][]string{
		"issuer": {"admin_token", "redis_ca.crt", "redis_issuer_password", "users.yaml"},
		"authz":  {"redis_ca.crt", "redis_gate_password"},
		"redis":  {"redis.crt", "redis.key", "redis_ca.crt", "redis_gate_password", "redis_users.acl"},
	} {
		entries, err := os.ReadDir(filepath.Join(secrets, folder))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has the secrets %v, expected %v", folder, got, want)
		}
	}
}

// secretsAreInFoldersOfTheir owners: folders has the name of each service's.
func secretsAreInFoldersOfTheir(t *testing.T, project *types.Project, folders map[string]string) {
	t.Helper()
	for name, s := range project.Services {
		for variable := range s.Environment {
			harmless := variable == "GOMEMLIMIT" ||
				name == "operator" &&
					(variable == "SALLYPORT_ADMIN_URL" || variable == "SALLYPORT_ADMIN_TOKEN_FILE")
			if !harmless || len(s.EnvFiles) > 0 {
				t.Errorf("%s has the environment variable %s, where settings leak from", name, variable)
			}
		}
		var folder string
		for _, v := range s.Volumes {
			if _, inside, ok := strings.Cut(v.Source, "/deploy/secrets/"); ok {
				if v.Target != "/run/secrets" || folder != "" {
					t.Errorf("%s has %s at %s", name, v.Source, v.Target)
				}
				folder = inside
			}
		}
		if want := folders[name]; folder != want {
			t.Errorf("%s gets the secrets of %q, expected %q", name, folder, want)
		}
	}
}

// TestNoServiceCanTakeTheMachine: each has a limit on its memory, and a process of ours works
// harder before it is ended by it.
func TestNoServiceCanTakeTheMachine(t *testing.T) {
	for stack, limits := range map[string]map[string]types.UnitBytes{
		"beside": {"issuer": 512 << 20, "authz": 512 << 20},
		"inside": {"issuer": 512 << 20, "envoy": 1 << 30}, // Envoy's own 512 MiB, and a gate's
	} {
		project := stacks(t)[stack]
		for name, s := range project.Services {
			if s.MemLimit < 32<<20 || s.MemLimit > 1<<30 {
				t.Errorf("%s: its memory is limited to %d bytes", name, s.MemLimit)
			}
		}
		for name, want := range limits {
			if limit := project.Services[name].Environment["GOMEMLIMIT"]; limit == nil ||
				*limit != "400MiB" || project.Services[name].MemLimit != want {
				t.Errorf("%s: GOMEMLIMIT is %v beside a limit of %d bytes", name, limit,
					project.Services[name].MemLimit)
			}
		}
	}
	if limit := compose(t).Services["redis"].MemLimit; limit != 512<<20 ||
		!strings.Contains(readFile(t, "deploy/config/redis.conf"), "\nmaxmemory 256mb\n") {
		t.Errorf("redis: %d bytes are not twice its maxmemory", limit)
	}
}

// TestTheIssuerBelievesEnvoyAlone, by the one address that Envoy has in the network between them,
// and no container that Docker gives an address to can get it.
func TestTheIssuerBelievesEnvoyAlone(t *testing.T) {
	for stack, project := range stacks(t) {
		t.Run(stack, func(t *testing.T) { theIssuerBelievesEnvoyAlone(t, project) })
	}
}

func theIssuerBelievesEnvoyAlone(t *testing.T, project *types.Project) {
	t.Helper()
	address := project.Services["envoy"].Networks["mesh"].Ipv4Address
	if want := "--http-trusted-proxies=" + address + "/32"; address == "" ||
		!slices.Contains(project.Services["issuer"].Command, want) {
		t.Errorf("the issuer's command is %v, expected %s", project.Services["issuer"].Command, want)
	}
	if strings.Contains(readFile(t, "deploy/config/issuer.yaml"), "\n  trusted_proxies:") {
		t.Error("deploy/config/issuer.yaml names proxies, which differ between Compose and each cluster")
	}
	pools := project.Networks["mesh"].Ipam.Config
	if len(pools) != 1 {
		t.Fatalf("the network mesh has %d pools", len(pools))
	}
	subnet, given := netip.MustParsePrefix(pools[0].Subnet), netip.MustParsePrefix(pools[0].IPRange)
	if a := netip.MustParseAddr(address); !subnet.Contains(a) || given.Contains(a) ||
		!subnet.Overlaps(given) {
		t.Errorf("Envoy has %s in %s, of which Docker gives out %s", a, subnet, given)
	}
}

// TestTheOperatorTalksToTheIssuerAlone, on the loopback where its admin API is.
func TestTheOperatorTalksToTheIssuerAlone(t *testing.T) {
	operator := compose(t).Services["operator"]
	if operator.NetworkMode != "service:issuer" || len(operator.Networks) > 0 ||
		*operator.Environment["SALLYPORT_ADMIN_URL"] != "http://127.0.0.1:9101" {
		t.Errorf("the operator's command is on %q and %v, and asks %v", operator.NetworkMode,
			operator.Networks, operator.Environment)
	}
}

// TestOnlyTheGatewayIsReachable: one published port, on loopback, and Redis on a network that Envoy
// and the upstream are not on.
func TestOnlyTheGatewayIsReachable(t *testing.T) {
	for stack, members := range map[string]map[string][]string{
		"beside": {
			"edge": {"envoy"}, "service": {"envoy", "upstream"}, "mesh": {"authz", "envoy", "issuer"},
			"store": {"authz", "issuer", "redis"},
		},
		"inside": {
			"edge": {"envoy"}, "service": {"envoy", "upstream"}, "mesh": {"envoy", "issuer"},
			"store": {"envoy", "issuer", "redis"},
		},
	} {
		t.Run(stack, func(t *testing.T) { onlyTheGatewayIsReachable(t, stacks(t)[stack], members) })
	}
}

func onlyTheGatewayIsReachable(t *testing.T, project *types.Project, members map[string][]string) {
	t.Helper()
	if published := project.Services["envoy"].Ports; len(published) != 1 {
		t.Errorf("Envoy publishes %v", published)
	}
	for name, s := range project.Services {
		if name != "envoy" && len(s.Ports) > 0 {
			t.Errorf("%s publishes a port", name)
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" || p.Target != 10000 {
				t.Errorf("%s publishes port %d on %q, expected the gateway's on 127.0.0.1", name,
					p.Target, p.HostIP)
			}
		}
	}
	for network, want := range members {
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
	// With the gate inside, Envoy is of an image that is built here.
	inside := compose(t, composeInside).Services["envoy"]
	context := project.Services["issuer"].Build.Context
	if inside.Image != "sallyport-envoy:local" || inside.Build == nil ||
		inside.Build.Dockerfile != "deploy/in-process/Dockerfile" ||
		inside.Build.Args["VERSION"] == nil || inside.Build.Context != context {
		t.Errorf("Envoy with the gate inside is of %s, built by %v", inside.Image, inside.Build)
	}
	overlay := readFile(t, "k8s/overlays/in-process/envoy.yaml")
	if !strings.Contains(overlay, "image: sallyport-envoy\n") ||
		!strings.Contains(overlay, inside.Command[2]+", ") {
		t.Errorf("k8s/overlays/in-process runs another image than %s, or another file than %s",
			inside.Image, inside.Command[2])
	}
	// Somebody else's image in its place must not be built from our Dockerfile.
	if upstream := project.Services["upstream"]; upstream.Image != "sallyport:local" ||
		upstream.Build != nil {
		t.Error("the upstream is not of the image that the others build")
	}
	if issuer := project.Services["issuer"]; issuer.Image != "sallyport:local" ||
		issuer.Build == nil ||
		issuer.Build.Args["VERSION"] == nil {
		t.Error("the issuer's image is not built here, or not told its version")
	}
}
