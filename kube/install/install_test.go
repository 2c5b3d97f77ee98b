package install

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	apiv1 "github.com/Azure/eno/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/kube/eno"
)

// patchNamespace is where the patch lives unless told otherwise.
const patchNamespace = "k8s-synth"

// overlays are what can be applied; the first is the installation itself.
var overlays = []string{".", "listen-only", "topology", "kind"}

func decoder(t *testing.T) runtime.Decoder {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, apiextensionsv1.AddToScheme, apiv1.SchemeBuilder.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
}

// render returns the objects of an overlay, each decoded into its API's type,
// where a field that the type does not have is an error.
func render(t *testing.T, dir string) (all []metav1.Object) {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatalf("kustomize %s: %v", dir, err)
	}
	d := decoder(t)
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		o, _, err := d.Decode(text, nil, nil)
		if err != nil {
			t.Errorf("%s: %s: %v", dir, r.CurId(), err)
			continue
		}
		all = append(all, o.(metav1.Object))
	}
	if len(all) == 0 {
		t.Fatalf("%s is empty", dir)
	}
	return all
}

func name(o metav1.Object) string {
	return fmt.Sprintf("%T %s/%s", o, o.GetNamespace(), o.GetName())
}

// TestManifests looks at every object of every overlay.
func TestManifests(t *testing.T) {
	for _, dir := range overlays {
		t.Run(dir, func(t *testing.T) {
			objects := render(t, dir)
			have := map[string]bool{}
			for _, o := range objects {
				if have[name(o)] {
					t.Errorf("%s is there twice", name(o))
				}
				have[name(o)] = true
				if o.GetLabels()[eno.ManagedByLabel] != eno.ManagedBy {
					t.Errorf("%s has no label %s=%s", name(o), eno.ManagedByLabel, eno.ManagedBy)
				}
			}
			for _, o := range objects {
				if ns := o.GetNamespace(); ns != "" && dir != "topology" && !have["*v1.Namespace /"+ns] {
					t.Errorf("%s: the namespace is not installed", name(o))
				}
				switch o := o.(type) {
				case *appsv1.Deployment:
					checkDeployment(t, o, have)
				case *rbacv1.RoleBinding:
					checkBinding(t, name(o), o.Namespace, o.RoleRef, o.Subjects, have)
				case *rbacv1.ClusterRoleBinding:
					checkBinding(t, name(o), "", o.RoleRef, o.Subjects, have)
				}
			}
		})
	}
}

func checkBinding(t *testing.T, what, namespace string, ref rbacv1.RoleRef, subjects []rbacv1.Subject, have map[string]bool) {
	if ref.Kind == "ClusterRole" {
		namespace = ""
	}
	if !have[fmt.Sprintf("*v1.%s %s/%s", ref.Kind, namespace, ref.Name)] {
		t.Errorf("%s: there is no %s %s", what, ref.Kind, ref.Name)
	}
	for _, s := range subjects {
		if s.Kind != rbacv1.ServiceAccountKind || !have[fmt.Sprintf("*v1.ServiceAccount %s/%s", s.Namespace, s.Name)] {
			t.Errorf("%s: there is no %s %s/%s", what, s.Kind, s.Namespace, s.Name)
		}
	}
}

func checkDeployment(t *testing.T, d *appsv1.Deployment, have map[string]bool) {
	pod := d.Spec.Template
	if pod.Labels[eno.ManagedByLabel] != eno.ManagedBy {
		t.Errorf("%s: its pods have no label %s", name(d), eno.ManagedByLabel)
	}
	for k, v := range d.Spec.Selector.MatchLabels {
		if pod.Labels[k] != v {
			t.Errorf("%s: the selector %s=%s does not find its own pods", name(d), k, v)
		}
	}
	if !have["*v1.ServiceAccount "+d.Namespace+"/"+pod.Spec.ServiceAccountName] {
		t.Errorf("%s: there is no service account %s", name(d), pod.Spec.ServiceAccountName)
	}
	if c := pod.Spec.SecurityContext; c == nil || c.RunAsNonRoot == nil || !*c.RunAsNonRoot || c.SeccompProfile == nil {
		t.Errorf("%s: expected pods that are not root, with the runtime's seccomp profile", name(d))
	}
	for _, c := range pod.Spec.Containers {
		s := c.SecurityContext
		if s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || len(s.Capabilities.Drop) != 1 {
			t.Errorf("%s: container %s: expected a read-only root, no escalation and no capabilities", name(d), c.Name)
		}
		checkImage(t, name(d), c.Image)
		for _, a := range c.Args {
			if _, image, ok := strings.Cut(a, "--executor-image="); ok {
				checkImage(t, name(d), image)
			}
		}
		if c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero() || c.ReadinessProbe == nil {
			t.Errorf("%s: container %s: expected requests, a limit of memory and a readiness probe", name(d), c.Name)
		}
		if slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.HostPath != nil }) || pod.Spec.HostNetwork {
			t.Errorf("%s reaches the host", name(d))
		}
	}
}

// checkImage: a manifest of another release than its images would pull what is
// not built with it.
func checkImage(t *testing.T, what, image string) {
	t.Helper()
	base, ok := strings.CutPrefix(image, Registry+"/")
	base, version, _ := strings.Cut(base, ":")
	if !ok || version != Version || !slices.Contains([]string{"voice", "pause", "topology-synthesizer", "eno", "k8s-synth"}, base) {
		t.Errorf("%s: image %s is none of this release", what, image)
	}
}

// reading are the verbs that change nothing.
var reading = []string{"get", "list", "watch"}

func rules(objects []metav1.Object) (cluster, namespaced map[string][]rbacv1.PolicyRule) {
	cluster, namespaced = map[string][]rbacv1.PolicyRule{}, map[string][]rbacv1.PolicyRule{}
	for _, o := range objects {
		switch o := o.(type) {
		case *rbacv1.ClusterRole:
			cluster[o.Name] = o.Rules
		case *rbacv1.Role:
			namespaced[o.Namespace+"/"+o.Name] = o.Rules
		}
	}
	return cluster, namespaced
}

// TestListenOnlyChangesNothing: neither a verb that writes nor one of the
// resources through which a reader could, such as a proxy or the secrets.
func TestListenOnlyChangesNothing(t *testing.T) {
	cluster, namespaced := rules(render(t, "listen-only"))
	if len(cluster) != 1 || len(namespaced) != 0 {
		t.Errorf("expected one role, got %d and %d", len(cluster), len(namespaced))
	}
	for role, rs := range cluster {
		for _, r := range rs {
			for _, v := range r.Verbs {
				if !slices.Contains(reading, v) {
					t.Errorf("%s may %s %v", role, v, r.Resources)
				}
			}
			for _, what := range r.Resources {
				if strings.ContainsAny(what, "*/") || what == "secrets" {
					t.Errorf("%s may read %s", role, what)
				}
			}
			if slices.Contains(r.APIGroups, "*") || len(r.NonResourceURLs) > 0 {
				t.Errorf("%s: %+v", role, r)
			}
		}
	}
}

// TestPlayWritesInItsNamespace: outside of the namespaces of the patch and of
// Eno's pods, only objects of the instrument's own kinds and names are written.
func TestPlayWritesInItsNamespace(t *testing.T) {
	cluster, namespaced := rules(render(t, "."))
	for role, rs := range cluster {
		for _, r := range rs {
			for _, v := range r.Verbs {
				if slices.Contains(reading, v) || slices.Equal(r.APIGroups, []string{"eno.azure.io"}) {
					continue
				}
				if v == "create" && slices.Equal(r.Resources, []string{"ingressclasses"}) {
					continue // its own, which it makes once
				}
				t.Errorf("cluster role %s may %s %v in every namespace", role, v, r.Resources)
			}
		}
	}
	for role, rs := range namespaced {
		if ns, _, _ := strings.Cut(role, "/"); ns != patchNamespace && ns != EnoNamespace {
			t.Errorf("role %s: another namespace than the patch's and Eno's", role)
		}
		for _, r := range rs {
			for _, s := range slices.Concat(r.Verbs, r.Resources, r.APIGroups) {
				if s == "*" || s == "secrets" || s == "escalate" || s == "bind" || s == "impersonate" || s == "pods/exec" {
					t.Errorf("role %s: %+v", role, r)
				}
			}
		}
	}
	// Who may do what: the minimal role of each part is there.
	for _, want := range []string{patchNamespace + "/k8s-synth-play", patchNamespace + "/k8s-synth-eno", EnoNamespace + "/eno-controller"} {
		if len(namespaced[want]) == 0 {
			t.Errorf("no role %s", want)
		}
	}
}

// TestTopologyObjectsAreTheDaemons: what stands in the files is what the daemon
// would make, or each would undo the other.
func TestTopologyObjectsAreTheDaemons(t *testing.T) {
	for _, o := range render(t, "topology") {
		var want any
		switch o.(type) {
		case *apiv1.Synthesizer:
			want = eno.Synthesizer()
		case *apiv1.Composition:
			want = eno.Composition(patchNamespace)
		}
		if !reflect.DeepEqual(o, want) {
			got, _ := yaml.Marshal(o)
			other, _ := yaml.Marshal(want)
			t.Errorf("the file has\n%s\nthe daemon makes\n%s", got, other)
		}
	}
	checkImage(t, "package eno", eno.SynthesizerImage)
}

// TestSynthesizerAccess: the embedded control plane reads what kubectl applies.
func TestSynthesizerAccess(t *testing.T) {
	manifests, err := SynthesizerAccess()
	if err != nil || len(manifests) != 3 {
		t.Fatalf("%d manifests, %v", len(manifests), err)
	}
	d := decoder(t)
	for _, m := range manifests {
		o, _, err := d.Decode(m, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a, ok := o.(*corev1.ServiceAccount); ok && (a.Name != SynthesizerAccount || a.Namespace != EnoNamespace) {
			t.Errorf("service account %s/%s", a.Namespace, a.Name)
		}
	}
}

// TestKubectlRenders: kubectl's own kustomize takes every overlay, too.
func TestKubectlRenders(t *testing.T) {
	kubectl, err := filepath.Abs("../../bin/kubectl")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kubectl); err != nil {
		if kubectl, err = exec.LookPath("kubectl"); err != nil {
			t.Skip("skipped: no kubectl; make e2e builds it")
		}
	}
	for _, dir := range overlays {
		out, err := exec.Command(kubectl, "kustomize", dir).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("kind: ")) {
			t.Errorf("kubectl kustomize %s: %v\n%s", dir, err, out)
		}
	}
}

// TestDemoScript: it cannot run where there is no container engine, but it is
// a script, and the programs that it needs are asked for first.
func TestDemoScript(t *testing.T) {
	if out, err := exec.Command("bash", "-n", "kind.sh").CombinedOutput(); err != nil {
		t.Errorf("kind.sh: %v\n%s", err, out)
	}
	c := exec.Command("bash", "kind.sh", "up", "none")
	// A PATH with the basics alone.
	dir := t.TempDir()
	for _, p := range []string{"dirname", "bash"} {
		real, err := exec.LookPath(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(real, filepath.Join(dir, p)); err != nil {
			t.Fatal(err)
		}
	}
	c.Env = []string{"PATH=" + dir}
	out, err := c.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "kind is needed: https://kind.sigs.k8s.io") {
		t.Errorf("without kind: %v\n%s", err, out)
	}
}

// TestCRDsEqualTheModule keeps our copies those of the Eno that go.mod names.
func TestCRDsEqualTheModule(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/Azure/eno").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "api", "v1", "config", "crd")
	theirs, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(theirs) == 0 {
		t.Fatalf("no definitions in %s: %v", dir, err)
	}
	ours, err := CRDs()
	if err != nil {
		t.Fatal(err)
	}
	if len(ours) != len(theirs) {
		t.Errorf("%d copies of %d files", len(ours), len(theirs))
	}
	for _, f := range theirs {
		want, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(ours[filepath.Base(f)], want) {
			t.Errorf("crds/%s differs from the module's; copy it as crds/README.md says", filepath.Base(f))
		}
	}
}
