package tools

import (
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/yannh/kubeconform/pkg/validator"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// overlays are the folders that a user may apply.
var overlays = []string{"k8s/base", "k8s/overlays/test", overlayInside}

// overlayInside puts the gate into Envoy.
const overlayInside = "k8s/overlays/in-process"

// object is one manifest: its text, and the same in Kubernetes' own type.
type object struct {
	kind, name, namespace string
	text                  []byte
	value                 any
}

// build renders a folder as `kubectl apply -k` does, and decodes each manifest into its type; a
// field that the type does not have is an error.
func build(t *testing.T, folder string) []object {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).
		Run(filesys.MakeFsOnDisk(), filepath.Join(root, folder))
	if err != nil {
		t.Fatal(err)
	}
	var objects []object
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		o := object{
			kind: r.GetKind(), name: r.GetName(), namespace: r.GetNamespace(), text: text,
			value: newObject(r.GetApiVersion() + " " + r.GetKind()),
		}
		if o.value == nil {
			t.Fatalf("%s: %s %s is of a kind that this test does not know", folder,
				r.GetApiVersion(), o.kind)
		}
		if err := yaml.UnmarshalStrict(text, o.value); err != nil {
			t.Errorf("%s: %s %s: %v", folder, o.kind, o.name, err)
		}
		objects = append(objects, o)
	}
	return objects
}

func newObject(kind string) any {
	switch kind {
	case "v1 Namespace":
		return new(corev1.Namespace)
	case "v1 ServiceAccount":
		return new(corev1.ServiceAccount)
	case "v1 ConfigMap":
		return new(corev1.ConfigMap)
	case "v1 Service":
		return new(corev1.Service)
	case "apps/v1 Deployment":
		return new(appsv1.Deployment)
	case "apps/v1 StatefulSet":
		return new(appsv1.StatefulSet)
	case "policy/v1 PodDisruptionBudget":
		return new(policyv1.PodDisruptionBudget)
	case "networking.k8s.io/v1 NetworkPolicy":
		return new(networkingv1.NetworkPolicy)
	}
	return nil
}

// pods returns the pod templates of an overlay by the name of what makes them.
func pods(t *testing.T, folder string) map[string]corev1.PodTemplateSpec {
	t.Helper()
	templates := map[string]corev1.PodTemplateSpec{}
	for _, o := range build(t, folder) {
		switch v := o.value.(type) {
		case *appsv1.Deployment:
			templates[o.name] = v.Spec.Template
		case *appsv1.StatefulSet:
			templates[o.name] = v.Spec.Template
		}
	}
	return templates
}

func TestManifestsAreValid(t *testing.T) {
	check, err := validator.New([]string{schemas(t)}, validator.Opts{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range overlays {
		objects := build(t, folder)
		if least := map[bool]int{false: 20, true: 18}[folder == overlayInside]; len(objects) < least {
			t.Errorf("%s: only %d manifests", folder, len(objects))
		}
		for _, o := range objects {
			for _, result := range check.Validate(o.name, io.NopCloser(strings.NewReader(string(o.text)))) {
				if result.Status != validator.Valid {
					t.Errorf("%s: %s %s: %v %v", folder, o.kind, o.name, result.Err, result.ValidationErrors)
				}
			}
		}
	}
}

// TestTheSchemasRefuse makes sure that the check above can fail.
func TestTheSchemasRefuse(t *testing.T) {
	check, err := validator.New([]string{schemas(t)}, validator.Opts{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	of := func(version, kind string) string {
		return "apiVersion: " + version + "\nkind: " + kind + "\nmetadata: {name: a}\nspec: "
	}
	for name, manifest := range map[string]string{
		"unknown field":          of("v1", "Service") + "{port: 1}\n",
		"wrong type":             of("v1", "Service") + "{ports: [{port: http}]}\n",
		"required field missing": of("apps/v1", "Deployment") + "{replicas: 1}\n",
		"unknown deep field": of("policy/v1", "PodDisruptionBudget") +
			"{selector: {matchLabel: {a: b}}}\n",
	} {
		for _, result := range check.Validate(name, io.NopCloser(strings.NewReader(manifest))) {
			if result.Status != validator.Invalid {
				t.Errorf("%s: kubeconform says %v %v", name, result.Status, result.Err)
			}
		}
	}
}

// TestPodsMeetPodSecurityRestricted goes through the rules of the standard, and a few of ours on
// top.
func TestPodsMeetPodSecurityRestricted(t *testing.T) {
	for _, folder := range overlays {
		templates := pods(t, folder)
		// With the gate inside, Envoy's pods are the gates'.
		if want := map[bool]int{false: 5, true: 4}[folder == overlayInside]; len(templates) != want {
			t.Errorf("%s: %d kinds of pods, expected %d", folder, len(templates), want)
		}
		for name, template := range templates {
			s := template.Spec
			if s.HostNetwork || s.HostPID || s.HostIPC || s.HostUsers != nil {
				t.Errorf("%s %s: it shares a namespace with the node", folder, name)
			}
			if c := s.SecurityContext; c == nil || c.RunAsNonRoot == nil || !*c.RunAsNonRoot ||
				c.RunAsUser == nil ||
				*c.RunAsUser == 0 ||
				c.SeccompProfile == nil ||
				c.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
				t.Errorf(
					"%s %s: expected runAsNonRoot, runAsUser and seccompProfile RuntimeDefault",
					folder, name)
			}
			if s.AutomountServiceAccountToken == nil || *s.AutomountServiceAccountToken ||
				s.ServiceAccountName != "sallyport" {
				t.Errorf("%s %s: it gets a token for the API server", folder, name)
			}
			for _, v := range s.Volumes {
				if v.ConfigMap == nil && v.Secret == nil && v.EmptyDir == nil {
					t.Errorf("%s %s: volume %s is neither ConfigMap, Secret nor emptyDir", folder, name, v.Name)
				}
			}
			for _, c := range slices.Concat(s.InitContainers, s.Containers) {
				checkContainer(t, folder+" "+name, c)
			}
		}
	}
}

func checkContainer(t *testing.T, where string, c corev1.Container) {
	t.Helper()
	if s := c.SecurityContext; s == nil ||
		s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation ||
		s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
		s.Capabilities == nil || len(s.Capabilities.Add) > 0 ||
		!slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || s.Privileged != nil {
		t.Errorf("%s: expected no privilege escalation, a read-only root and "+
			"all capabilities dropped", where)
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() ||
		c.Resources.Limits.Memory().IsZero() {
		t.Errorf("%s: expected requests for cpu and memory and a limit for memory", where)
	}
	if c.ReadinessProbe == nil || c.LivenessProbe == nil {
		t.Errorf("%s: expected a readiness and a liveness probe", where)
	}
	if tag := c.Image[strings.LastIndex(c.Image, ":")+1:]; tag == "latest" ||
		!strings.Contains(c.Image, ":") {
		t.Errorf("%s: image %s has no tag of its own", where, c.Image)
	}
	for _, port := range c.Ports {
		if port.HostPort != 0 {
			t.Errorf("%s: it takes a port of the node", where)
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			t.Errorf("%s: the secret %s is in its environment, expected a file", where, e.Name)
		}
	}
}

// TestDaemonsAreProbedOnTheirAdminPort: readiness and liveness differ, so that a gate that must
// refuse is not killed for it.
func TestDaemonsAreProbedOnTheirAdminPort(t *testing.T) {
	templates := pods(t, "k8s/base")
	for _, name := range []string{"issuer", "authz"} {
		c := templates[name].Spec.Containers[0]
		if g := c.ReadinessProbe.HTTPGet; g == nil || g.Path != "/readyz" || g.Port.StrVal != "admin" {
			t.Errorf("%s: readiness is %+v, expected /readyz on admin", name, g)
		}
		if g := c.LivenessProbe.HTTPGet; g == nil || g.Path != "/livez" || g.Port.StrVal != "admin" {
			t.Errorf("%s: liveness is %+v, expected /livez on admin", name, g)
		}
	}
}

// TestAnEnvoyWithAGateIsProbedOnBoth: it gets requests when its listeners are open, and so when
// the gate has a copy of the log; it is started again when its gate has failed, and not while the
// gate waits for Redis.
func TestAnEnvoyWithAGateIsProbedOnBoth(t *testing.T) {
	c := pods(t, overlayInside)["envoy"].Spec.Containers[0]
	for what, row := range map[string]struct {
		probe      *corev1.Probe
		path, port string
	}{
		"startup":   {c.StartupProbe, "/livez", "admin"},
		"readiness": {c.ReadinessProbe, "/ready", "status"},
		"liveness":  {c.LivenessProbe, "/livez", "admin"},
	} {
		if row.probe == nil || row.probe.HTTPGet == nil || row.probe.TCPSocket != nil ||
			row.probe.HTTPGet.Path != row.path || row.probe.HTTPGet.Port.StrVal != row.port {
			t.Errorf("%s is %+v, expected %s on %s", what, row.probe, row.path, row.port)
		}
	}
}

// TestAGateInsideEnvoyHasWhatOneBesideHas: its settings, its secrets, its name and its folder for
// keys; and nobody asks for a gate beside Envoy any more.
func TestAGateInsideEnvoyHasWhatOneBesideHas(t *testing.T) {
	gate, envoy := pods(t, "k8s/base")["authz"].Spec, pods(t, overlayInside)["envoy"].Spec
	mounts := func(s corev1.PodSpec) map[string]string {
		sources := map[string]string{}
		for _, v := range s.Volumes {
			switch {
			case v.ConfigMap != nil:
				name, _, _ := strings.Cut(v.ConfigMap.Name, "-config")
				sources[v.Name] = "settings of " + name
			case v.Secret != nil:
				sources[v.Name] = "secret " + v.Secret.SecretName
			case v.EmptyDir != nil:
				sources[v.Name] = "folder"
			}
		}
		at := map[string]string{}
		for _, m := range s.Containers[0].VolumeMounts {
			at[m.MountPath] = sources[m.Name]
		}
		return at
	}
	have := mounts(envoy)
	for path, source := range mounts(gate) {
		if have[path] != source {
			t.Errorf("%s is %q, expected %q", path, have[path], source)
		}
	}
	for _, e := range gate.Containers[0].Env {
		if !slices.ContainsFunc(envoy.Containers[0].Env, func(other corev1.EnvVar) bool {
			return reflect.DeepEqual(e, other)
		}) {
			t.Errorf("the variable %s is not that of a gate beside Envoy", e.Name)
		}
	}
	s := envoy.SecurityContext
	if group := s.FSGroup; group == nil || *group != *s.RunAsGroup {
		t.Errorf("secrets belong to the group %v: Envoy cannot read them", group)
	}
	// The pause before, and ten seconds of the gate's.
	if grace := *envoy.TerminationGracePeriodSeconds; grace < 20 {
		t.Errorf("the gate is given %d s to leave the log", grace)
	}
	for _, o := range build(t, overlayInside) {
		if o.name == "authz" {
			t.Errorf("%s authz is left over", o.kind)
		}
	}
}

// TestAChangedPolicyRollsNoEnvoyOver: the gate inside sees the file change, which it can only under
// the same name; Envoy's own file is another matter.
func TestAChangedPolicyRollsNoEnvoyOver(t *testing.T) {
	names := map[string]bool{}
	for _, o := range build(t, overlayInside) {
		if o.kind == "ConfigMap" {
			names[o.name] = true
		}
	}
	if len(names) != 4 || !names["authz-config"] {
		t.Errorf("config maps: %v, expected four, and authz-config", names)
	}
	for _, v := range pods(t, overlayInside)["envoy"].Spec.Volumes {
		if v.ConfigMap != nil && (!names[v.ConfigMap.Name] ||
			v.Name == "config" && v.ConfigMap.Name == "envoy-config") {
			t.Errorf("%s is %s", v.Name, v.ConfigMap.Name)
		}
	}
	for _, m := range pods(t, overlayInside)["envoy"].Spec.Containers[0].VolumeMounts {
		if m.SubPath != "" || m.SubPathExpr != "" {
			t.Errorf("%s is a file of its own, which never changes", m.MountPath)
		}
	}
}

// TestNoPodIsAlone: what has more than one replica keeps one through a drained node, and nothing
// but the four parts that must be reached has a Service.
func TestNoPodIsAlone(t *testing.T) {
	budgets := map[string]bool{}
	replicas := map[string]int32{}
	for _, o := range build(t, "k8s/base") {
		switch v := o.value.(type) {
		case *policyv1.PodDisruptionBudget:
			if v.Spec.MinAvailable == nil || v.Spec.MinAvailable.IntValue() != 1 {
				t.Errorf("%s: minAvailable is %v", o.name, v.Spec.MinAvailable)
			}
			budgets[v.Spec.Selector.MatchLabels["app.kubernetes.io/name"]] = true
		case *appsv1.Deployment:
			replicas[v.Spec.Template.Labels["app.kubernetes.io/name"]] = *v.Spec.Replicas
		}
	}
	for _, name := range []string{"issuer", "authz", "envoy"} {
		if replicas[name] < 2 || !budgets[name] {
			t.Errorf("%s: %d replicas, a disruption budget: %v; expected two and one", name,
				replicas[name], budgets[name])
		}
	}
}

// TestNamespaceEnforcesRestricted and everything lies in it.
func TestNamespaceEnforcesRestricted(t *testing.T) {
	for _, folder := range overlays {
		found := false
		for _, o := range build(t, folder) {
			if ns, ok := o.value.(*corev1.Namespace); ok {
				found = true
				if ns.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
					t.Errorf("%s: Pod Security is %q", folder, ns.Labels["pod-security.kubernetes.io/enforce"])
				}
			} else if o.namespace != "sallyport" {
				t.Errorf("%s: %s %s is in namespace %q", folder, o.kind, o.name, o.namespace)
			}
		}
		if !found {
			t.Errorf("%s: no namespace", folder)
		}
	}
}

// TestNobodyTalksToRedisButIssuersAndGates reads the network policies: every pod is closed by
// default, and each opening is for pods that exist.
func TestNobodyTalksToRedisButIssuersAndGates(t *testing.T) {
	for folder, reached := range map[string]map[string][]string{
		"k8s/base": {
			"redis":    {"authz", "issuer"},
			"authz":    {"envoy", "monitoring"},
			"issuer":   {"authz", "envoy", "monitoring"},
			"upstream": {"envoy"},
		},
		overlayInside: {
			"redis":    {"envoy", "issuer"},
			"issuer":   {"envoy", "monitoring"},
			"upstream": {"envoy"},
		},
	} {
		t.Run(folder, func(t *testing.T) { isReachedBy(t, folder, reached) })
	}
}

func isReachedBy(t *testing.T, folder string, reached map[string][]string) {
	t.Helper()
	policies := map[string]networkingv1.NetworkPolicySpec{}
	for _, o := range build(t, folder) {
		if v, ok := o.value.(*networkingv1.NetworkPolicy); ok {
			policies[o.name] = v.Spec
		}
	}
	deny := policies["deny-all"]
	if len(deny.PodSelector.MatchLabels) != 0 || len(deny.PolicyTypes) != 2 ||
		len(deny.Ingress)+len(deny.Egress) != 0 {
		t.Errorf("deny-all does not deny all: %+v", deny)
	}
	for name, want := range reached {
		var got []string
		for _, rule := range policies[name].Ingress {
			if len(rule.From) == 0 || len(rule.Ports) == 0 {
				t.Errorf("%s: a rule lets in everyone or to every port", name)
			}
			for _, from := range rule.From {
				if from.PodSelector != nil {
					got = append(got, from.PodSelector.MatchLabels["app.kubernetes.io/name"])
				} else {
					got = append(got, from.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"])
				}
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s is reached by %v, expected %v", name, got, want)
		}
	}
	// The other end of each opening: who may reach Redis, may also leave for it.
	for _, name := range reached["redis"] {
		leaves := slices.ContainsFunc(policies[name].Egress,
			func(rule networkingv1.NetworkPolicyEgressRule) bool {
				return len(rule.To) == 1 && rule.To[0].PodSelector != nil &&
					rule.To[0].PodSelector.MatchLabels["app.kubernetes.io/name"] == "redis"
			})
		if !leaves {
			t.Errorf("%s may not leave for Redis", name)
		}
	}
}

// TestServicesAndProbesFindTheirPorts: a name that no container has would select nothing, silently.
func TestServicesAndProbesFindTheirPorts(t *testing.T) {
	for _, folder := range overlays {
		ports := map[string]map[string]bool{}
		for _, template := range pods(t, folder) {
			names := map[string]bool{}
			for _, p := range template.Spec.Containers[0].Ports {
				names[p.Name] = true
			}
			ports[template.Labels["app.kubernetes.io/name"]] = names
		}
		for _, o := range build(t, folder) {
			switch v := o.value.(type) {
			case *corev1.Service:
				for _, p := range v.Spec.Ports {
					if !ports[v.Spec.Selector["app.kubernetes.io/name"]][p.TargetPort.StrVal] {
						t.Errorf("%s: service %s leads to port %q, which its pods do not have",
							folder, o.name, p.TargetPort.StrVal)
					}
				}
			case *networkingv1.NetworkPolicy:
				for _, rule := range v.Spec.Ingress {
					for _, p := range rule.Ports {
						if !ports[v.Spec.PodSelector.MatchLabels["app.kubernetes.io/name"]][p.Port.StrVal] {
							t.Errorf(
								"%s: network policy %s opens port %q, which its pods do not have",
								folder, o.name, p.Port.StrVal)
						}
					}
				}
			}
		}
	}
}

// TestAChangedFileIsANewConfigMap: pods are rolled over only when the name they mount changes.
func TestAChangedFileIsANewConfigMap(t *testing.T) {
	names := map[string]bool{}
	for _, o := range build(t, "k8s/base") {
		if o.kind == "ConfigMap" {
			names[o.name] = true
		}
	}
	if len(names) != 4 {
		t.Errorf("config maps: %v, expected four", names)
	}
	for pod, template := range pods(t, "k8s/base") {
		for _, v := range template.Spec.Volumes {
			if v.ConfigMap == nil {
				continue
			}
			if !names[v.ConfigMap.Name] || strings.HasSuffix(v.ConfigMap.Name, "-config") {
				t.Errorf("%s mounts %s, which is not the generated one", pod, v.ConfigMap.Name)
			}
		}
	}
}

// TestTheIssuerOnKubernetesBelievesThePodNetworkAtMost: not every private network; and both pages
// that a reader begins with say what to set.
func TestTheIssuerOnKubernetesBelievesThePodNetworkAtMost(t *testing.T) {
	for _, folder := range overlays {
		var value string
		for _, e := range pods(t, folder)["issuer"].Spec.Containers[0].Env {
			if e.Name == "SALLYPORT_HTTP_TRUSTED_PROXIES" {
				value = e.Value
			}
		}
		network, err := netip.ParsePrefix(value)
		if err != nil || network.Bits() < 16 {
			t.Errorf(
				"%s: SALLYPORT_HTTP_TRUSTED_PROXIES is %q, expected one network of /16 or narrower: %v",
				folder, value, err)
		}
	}
	for _, page := range []string{"docs/day-2.md", "k8s/base/issuer.yaml"} {
		if text := readFile(t, page); !strings.Contains(text, "SALLYPORT_HTTP_TRUSTED_PROXIES") ||
			!strings.Contains(text, "podCIDR") {
			t.Errorf("%s does not say what to set on a cluster", page)
		}
	}
}

// TestRedisKeepsItsFileOnAVolume in each overlay, so that the end of its pod is not the end of all
// sessions; the base says what a cluster needs for it.
func TestRedisKeepsItsFileOnAVolume(t *testing.T) {
	for _, folder := range overlays {
		for _, o := range build(t, folder) {
			if v, ok := o.value.(*appsv1.StatefulSet); ok && o.name == "redis" {
				if claims := v.Spec.VolumeClaimTemplates; len(claims) != 1 || claims[0].Name != "data" {
					t.Errorf("%s: Redis' volume claims are %v, expected one named data", folder, claims)
				}
			}
		}
	}
	if !strings.Contains(readFile(t, "k8s/base/kustomization.yaml"), "StorageClass") {
		t.Error("k8s/base does not say that it needs a StorageClass")
	}
}

// TestTheOverlayOfTheDocsBuilds: the one of docs/day-2.md, with the part that takes the shipped
// upstream away; and with the gate inside Envoy.
func TestTheOverlayOfTheDocsBuilds(t *testing.T) {
	page := readFile(t, "docs/day-2.md")
	indented := func(begin string) string {
		_, rest, ok := strings.Cut(page, "\n    "+begin)
		if !ok {
			t.Fatalf("the page has no block that begins with %q", begin)
		}
		var text strings.Builder
		for line := range strings.Lines("    " + begin + rest) {
			inside, ok := strings.CutPrefix(line, "    ")
			if !ok {
				break
			}
			text.WriteString(inside)
		}
		return text.String()
	}
	_, withoutUpstream, _ := strings.Cut(indented("patches:\n"), "patches:\n")
	dir := t.TempDir()
	for _, folder := range []string{"k8s/base", overlayInside, "deploy/config"} {
		if err := os.CopyFS(filepath.Join(dir, folder),
			os.DirFS(filepath.Join(root, folder))); err != nil {
			t.Fatal(err)
		}
	}
	mine := filepath.Join(dir, "k8s/overlays/mine")
	if err := os.MkdirAll(mine, 0o755); err != nil {
		t.Fatal(err)
	}
	builds := func(overlay string, images ...string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(mine, "kustomization.yaml"), []byte(overlay),
			0o600); err != nil {
			t.Fatal(err)
		}
		resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).
			Run(filesys.MakeFsOnDisk(), mine)
		if err != nil {
			t.Fatalf("%v\n%s", err, overlay)
		}
		text, err := resources.AsYaml()
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range append(images, "value: 10.42.0.0/16") {
			if !strings.Contains(string(text), want+"\n") {
				t.Errorf("the overlay has no %s", want)
			}
		}
		for _, r := range resources.Resources() {
			if r.GetKind() == "Deployment" && r.GetName() == "upstream" {
				t.Error("the shipped upstream is still there")
			}
		}
	}
	overlay := indented("apiVersion: kustomize.config.k8s.io/v1beta1\n") + withoutUpstream
	builds(overlay, "image: registry.example/sallyport:v1.2.3")
	// docs/in-process.md says what stands there instead of the base and its image.
	_, above, _ := strings.Cut(overlay, "\npatches:\n")
	page = readFile(t, "docs/in-process.md")
	builds(indented("resources: [../in-process]\n")+"patches:\n"+above,
		"image: registry.example/sallyport:v1.2.3", "image: registry.example/sallyport-envoy:v1.2.3")
}
