package tools

import (
	"context"
	"encoding/base64"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// built holds our programs and a folder of secrets, made once for all tests.
var built struct {
	once          sync.Once
	dir, secrets  string
	said          string // what secrets.sh printed for people
	manifests     string // what it printed for kubectl
	failure       error
	failureOutput string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		if err := os.RemoveAll(built.dir); err != nil {
			panic(err)
		}
	}
	os.Exit(code)
}

// programs builds issuer, authz and sallyport and runs deploy/secrets.sh with them.
func programs(t *testing.T) (dir, secrets string) {
	t.Helper()
	built.once.Do(func() {
		dir, err := os.MkdirTemp("", "sallyport-deploy-")
		if err != nil {
			built.failure = err
			return
		}
		built.dir, built.secrets = dir, filepath.Join(dir, "secrets")
		build := exec.Command("go", "build", "-trimpath", "-ldflags",
			"-X main.version="+builtVersion, "-o", dir+"/bin/", "./cmd/...")
		build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			built.failure, built.failureOutput = err, string(out)
			return
		}
		var manifests, said strings.Builder
		make := exec.Command("bash", filepath.Join(root, "deploy/secrets.sh"), "--kubernetes",
			built.secrets)
		make.Env, make.Stdout, make.Stderr = append(os.Environ(),
			"SALLYPORT="+dir+"/bin/sallyport"), &manifests, &said
		built.failure = make.Run()
		built.said, built.manifests = said.String(), manifests.String()
		built.failureOutput = built.said
	})
	if built.failure != nil {
		t.Fatalf("%v\n%s", built.failure, built.failureOutput)
	}
	return filepath.Join(built.dir, "bin"), built.secrets
}

// module builds the gate as Envoy's dynamic module, as the Makefile does.
func module(t *testing.T) string {
	t.Helper()
	programs(t)
	path := filepath.Join(built.dir, "libsallyport.so")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildmode=c-shared", "-trimpath",
		"-ldflags", "-s -w -X main.version="+builtVersion, "-o", path, ".")
	build.Dir, build.Env = filepath.Join(root, "authz/module"), append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v (it takes gcc)\n%s", err, out)
	}
	return path
}

// builtVersion is set as the Makefile and the Dockerfile set the version.
const builtVersion = "v9.8.7-tools"

func TestEveryProgramTellsTheVersionThatItsBuildHasSet(t *testing.T) {
	bin, _ := programs(t)
	for _, name := range []string{"issuer", "authz", "sallyport"} {
		out, err := exec.CommandContext(t.Context(), filepath.Join(bin, name), "version").CombinedOutput()
		words := strings.Fields(string(out))
		if err != nil || len(words) < 2 || words[0] != name || words[1] != builtVersion {
			t.Errorf("%s version: %v, %q", name, err, out)
		}
	}
	for _, file := range []string{"Makefile", "deploy/Dockerfile", "deploy/in-process/Dockerfile"} {
		if !strings.Contains(readFile(t, file), "-X main.version=$") {
			t.Errorf("%s does not set main.version", file)
		}
	}
}

// localise copies deploy/config with the containers' paths replaced by ones of this machine.
func localise(t *testing.T, name string, replacements ...string) string {
	t.Helper()
	_, secrets := programs(t)
	dir := t.TempDir()
	service, _, _ := strings.Cut(name, ".")
	replacements = append(replacements, "/run/secrets/", secrets+"/"+service+"/",
		"/var/lib/sallyport/keys", secrets+"/keys", "/var/cache/sallyport", dir)
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path,
		[]byte(strings.NewReplacer(replacements...).Replace(readFile(t, "deploy/config/"+name))),
		0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestTheDaemonsAcceptTheirConfiguration: unknown keys, wrong types and unreachable routes are
// errors there.
func TestTheDaemonsAcceptTheirConfiguration(t *testing.T) {
	bin, _ := programs(t)
	for _, daemon := range []string{"issuer", "authz"} {
		check := func(file string) ([]byte, error) {
			return exec.CommandContext(t.Context(), filepath.Join(bin, daemon),
				"check", "--config", file).CombinedOutput()
		}
		if out, err := check(localise(t, daemon+".yaml")); err != nil {
			t.Errorf("%s check: %v\n%s", daemon, err, out)
		}
		out, err := check(localise(t, daemon+".yaml", "\nlisten:", "\nlisten_on:"))
		if err == nil || !strings.Contains(string(out), daemon+".yaml:") {
			t.Errorf("%s check lets an unknown key pass, or does not say where it is: %v\n%s",
				daemon, err, out)
		}
	}
}

// TestSecretsCanBeMadeAgain: a second run keeps everything, so that nobody is locked out by it.
func TestSecretsCanBeMadeAgain(t *testing.T) {
	bin, secrets := programs(t)
	before := contents(t, secrets)
	again := exec.CommandContext(t.Context(), "bash", filepath.Join(root, "deploy/secrets.sh"),
		"--kubernetes", secrets)
	again.Env = append(os.Environ(), "SALLYPORT="+bin+"/sallyport")
	if out, err := again.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	after := contents(t, secrets)
	if len(before) != len(after) {
		t.Errorf("%d files before, %d after", len(before), len(after))
	}
	for name, content := range before {
		if after[name] != content {
			t.Errorf("%s was changed", name)
		}
	}
}

// TestFormerSecretsAreMovedIntoTheirFolders: a folder of a former version, which had all files in
// one, goes on with the same passwords, users, token and certificate; a file that is in both places
// is for a person to decide about.
func TestFormerSecretsAreMovedIntoTheirFolders(t *testing.T) {
	bin, secrets := programs(t)
	former := filepath.Join(t.TempDir(), "secrets")
	if err := os.Mkdir(former, 0o700); err != nil {
		t.Fatal(err)
	}
	want := contents(t, secrets)
	for path := range want {
		if folder := filepath.Base(filepath.Dir(path)); folder == "keys" {
			continue
		}
		if err := os.WriteFile(filepath.Join(former, filepath.Base(path)), []byte(want[path]),
			0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func() (string, error) {
		c := exec.CommandContext(t.Context(), "bash", filepath.Join(root, "deploy/secrets.sh"), former)
		c.Env = append(os.Environ(), "SALLYPORT="+bin+"/sallyport")
		out, err := c.CombinedOutput()
		return string(out), err
	}
	for range 2 {
		if out, err := run(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	got := contents(t, former)
	for path, content := range want {
		name, _ := strings.CutPrefix(path, secrets)
		if strings.HasPrefix(name, "/keys/") {
			continue
		}
		if got[former+name] != content {
			t.Errorf("%s was changed on its way, or is not there", name)
		}
		delete(got, former+name)
	}
	if len(got) > 0 {
		t.Errorf("left over: %v", slices.Sorted(maps.Keys(got)))
	}
	if err := os.WriteFile(filepath.Join(former, "users.yaml"), []byte("users: []\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(); err == nil || !strings.Contains(out, "/users.yaml and ") {
		t.Errorf("two users' files: %v\n%s", err, out)
	}
}

// TestARenewedSecretReachesEveryFolder: deleting the one file that secrets.sh names is enough.
func TestARenewedSecretReachesEveryFolder(t *testing.T) {
	bin, secrets := programs(t)
	dir := filepath.Join(t.TempDir(), "secrets")
	if err := os.CopyFS(dir, os.DirFS(secrets)); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	for _, name := range []string{"authz/redis_gate_password", "redis/redis_ca.crt"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.CommandContext(t.Context(), "bash", filepath.Join(root, "deploy/secrets.sh"), dir)
	c.Env = append(os.Environ(), "SALLYPORT="+bin+"/sallyport")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	after := contents(t, dir)
	for _, name := range []string{
		"authz/redis_gate_password", "redis/redis_ca.crt", "redis/redis.crt", "redis/redis.key",
		"redis/redis_users.acl",
	} {
		if path := filepath.Join(dir, name); after[path] == before[path] || after[path] == "" {
			t.Errorf("%s is not new", name)
		}
	}
	for name, of := range map[string]string{
		"redis/redis_gate_password": "authz/redis_gate_password",
		"issuer/redis_ca.crt":       "redis/redis_ca.crt",
		"authz/redis_ca.crt":        "redis/redis_ca.crt",
	} {
		if after[filepath.Join(dir, name)] != after[filepath.Join(dir, of)] {
			t.Errorf("%s is not that of %s", name, of)
		}
	}
	if path := filepath.Join(dir, "issuer/users.yaml"); after[path] != before[path] {
		t.Error("the users were changed")
	}
}

// TestContainersCanReadTheirSecrets as users of their own: the folders inside are open, since what
// is around them is closed; and a users' file that the operator's command has changed is as
// readable as before.
func TestContainersCanReadTheirSecrets(t *testing.T) {
	bin, secrets := programs(t)
	dir := filepath.Join(t.TempDir(), "issuer")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(secrets, "issuer"))); err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(dir, "users.yaml")
	if err := os.Chmod(users, 0o644); err != nil {
		t.Fatal(err)
	}
	disable := exec.CommandContext(t.Context(), filepath.Join(bin, "sallyport"),
		"users", "disable", "bob", "--file", users)
	if out, err := disable.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if info, err := os.Stat(users); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("users.yaml has the mode %v after a user was disabled: %v", info.Mode(), err)
	}
	for _, service := range []string{"issuer", "authz", "redis"} {
		info, err := os.Stat(filepath.Join(secrets, service))
		if err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: mode %v, expected 0755: %v", service, info.Mode(), err)
		}
		entries, err := os.ReadDir(filepath.Join(secrets, service))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err != nil || info.Mode() != 0o644 {
				t.Errorf("%s/%s: mode %v, expected 0644: %v", service, e.Name(), info.Mode(), err)
			}
		}
	}
}

// TestSecretsAreClosedToOtherUsers of this machine, by the folder's mode; no clear password is in
// any file but Redis' own.
func TestSecretsAreClosedToOtherUsers(t *testing.T) {
	_, secrets := programs(t)
	info, err := os.Stat(secrets)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, expected 0700", info.Mode().Perm())
	}
	passwords := regexp.MustCompile(`user (\w+), password (\w{24})\b`).
		FindAllStringSubmatch(built.said, -1)
	if len(passwords) != 2 {
		t.Fatalf("told %d passwords, expected two", len(passwords))
	}
	for name, content := range contents(t, secrets) {
		for _, p := range passwords {
			if strings.Contains(content, p[2]) {
				t.Errorf("%s holds the password of %s", name, p[1])
			}
		}
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		files[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestEveryMountedSecretIsMade: each file under /run/secrets that a configuration names is in the
// Secret its pod mounts.
func TestEveryMountedSecretIsMade(t *testing.T) {
	_, secrets := programs(t)
	made := map[string]corev1.Secret{}
	for _, text := range strings.Split(built.manifests, "---\n") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		var s corev1.Secret
		if err := yaml.UnmarshalStrict([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		if s.Namespace != "sallyport" {
			t.Errorf("secret %s is in namespace %q", s.Name, s.Namespace)
		}
		made[s.Name] = s
	}
	mounted := map[string]string{}
	for pod, template := range pods(t, "k8s/base") {
		for _, v := range template.Spec.Volumes {
			if v.Secret == nil {
				continue
			}
			if _, ok := made[v.Secret.SecretName]; !ok {
				t.Errorf("%s mounts the secret %s, which nobody makes", pod, v.Secret.SecretName)
			}
			mounted[v.Secret.SecretName] = pod
		}
	}
	if len(mounted) != len(made) {
		t.Errorf("made %d secrets, mounted %d", len(made), len(mounted))
	}
	secret := regexp.MustCompile(`/run/secrets/([\w.]+)`)
	for daemon, file := range map[string]string{
		"issuer": "issuer.yaml", "authz": "authz.yaml", "redis": "redis.conf",
	} {
		for _, m := range secret.FindAllStringSubmatch(readFile(t, "deploy/config/"+file), -1) {
			content, err := os.ReadFile(filepath.Join(secrets, daemon, m[1]))
			if err != nil {
				t.Error(err)
			}
			if got := made[daemon].Data[m[1]]; string(got) != string(content) {
				t.Errorf("secret %s: %s is %d bytes of base64 %.12s, expected the file's", daemon,
					m[1], len(got), base64.StdEncoding.EncodeToString(got))
			}
		}
	}
	if len(made["issuer-keys"].Data) == 0 {
		t.Error("no keys for the issuer")
	}
}

// redisWithOurSettings starts a real redis-server from deploy/config/redis.conf and returns a
// command that talks to it.
func redisWithOurSettings(t *testing.T) (ask func(user string, command ...string) string) {
	t.Helper()
	for _, name := range []string{"redis-server", "redis-cli"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%s is missing: apt-get install redis-server", name)
		}
	}
	var failure string
	for range 5 { // a free port may be taken by another program before Redis has it
		ask, failure = startRedis(t)
		if failure == "" {
			return ask
		}
	}
	t.Fatalf("redis-server did not start: %s", failure)
	return nil
}

// startRedis tries one port; failure says why there is no Redis on it.
func startRedis(t *testing.T) (ask func(user string, command ...string) string, failure string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	config := localise(t, "redis.conf", "tls-port 6379", "tls-port "+port, "bind * -::*",
		"bind 127.0.0.1", "dir /data", "dir "+t.TempDir())
	log := new(strings.Builder)
	server := exec.Command("redis-server", config)
	server.Stdout = log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = server.Wait() // how it ended is in its log
		close(ended)
	}()
	stop := func() {
		_ = server.Process.Kill() // it holds nothing that is wanted
		<-ended
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		select {
		case <-ended:
			return nil, log.String()
		default:
		}
		said := askRedis(t, port, "gate", "ping")
		if said == "PONG" {
			t.Cleanup(stop)
			return func(user string, command ...string) string {
				return askRedis(t, port, user, command...)
			}, ""
		}
		if time.Now().After(deadline) {
			stop()
			return nil, said + "\n" + log.String()
		}
	}
}

// askRedis returns Redis' answer as text; errors are text too.
func askRedis(t *testing.T, port, user string, command ...string) string {
	t.Helper()
	_, secrets := programs(t)
	folder := map[string]string{"issuer": "issuer", "gate": "authz"}[user]
	password, err := os.ReadFile(filepath.Join(secrets, folder, "redis_"+user+"_password"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cli := exec.CommandContext(
		ctx,
		"redis-cli",
		append(
			[]string{"-p", port, "--tls", "--cacert", secrets + "/redis/redis_ca.crt", "--sni", "redis",
				"--user", user, "--no-auth-warning"},
			command...)...)
	cli.Env = append(os.Environ(), "REDISCLI_AUTH="+string(password))
	out, _ := cli.CombinedOutput() // what went wrong is in the text
	return strings.TrimSpace(string(out))
}

// TestAGateCanOnlyReadTheLog and write its own line, by the real Redis with our access list; an
// issuer can neither administer nor empty it.
func TestAGateCanOnlyReadTheLog(t *testing.T) {
	ask := redisWithOurSettings(t)
	may := func(user string, allowed bool, commands ...string) {
		t.Helper()
		for _, c := range commands {
			if out := ask(user, strings.Fields(c)...); strings.HasPrefix(out, "NOPERM") == allowed {
				t.Errorf("%s: %s: allowed should be %v: %s", user, c, allowed, out)
			}
		}
	}
	may("gate", true, "hmget {sallyport}:rev:head seq", "xrange {sallyport}:rev:log - +",
		"set {sallyport}:replica:1 x", "getrange {sallyport}:replica:99 0 9", "time", "wait 0 0",
		"multi")
	may("gate", false, "hset {sallyport}:rev:head seq 9", "xadd {sallyport}:rev:log * a b",
		"del {sallyport}:rev:log", "hset {sallyport}:issuers a b", "hmget {sallyport}:issuers a",
		"hset {sallyport}:replicas a b", "del {sallyport}:replica:1",
		"set {sallyport}:replica:100 x", "get x", "hgetall {tag}:sessions", "eval return(1) 0",
		"keys x", "flushall", "config get dir", "shutdown", "acl list", "subscribe x",
		"client list", "script flush", "info")
	may("issuer", true, "eval return(redis.call('set',KEYS[1],1)) 1 {tag}:a",
		"xadd {sallyport}:rev:log 1-0 a b", "config get maxmemory-policy", "info replication",
		"role", "time")
	may("issuer", false, "flushall", "flushdb", "keys x", "config set appendonly no", "shutdown",
		"acl list", "replicaof no one", "client kill id 1", "subscribe x")
	for setting, want := range map[string]string{
		"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction",
		"proto-max-bulk-len": "1048576",
	} {
		got := slices.Collect(strings.Lines(ask("issuer", "config", "get", setting)))
		if len(got) != 2 || got[1] != want {
			t.Errorf("%s is %q, expected %s", setting, got, want)
		}
	}
}
