package eno

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"reflect"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	// containerName is that of the one container of every pod.
	containerName = "voice"
	// voicePort is where our own image answers requests.
	voicePort = 8080
	// gracePeriod is how long a container may take to end, in seconds. It is
	// short, because a pod that was let go is to be heard going.
	gracePeriod = 2
	// voiceUser runs our own image: nobody of the distroless images.
	voiceUser = 65532
	// cronDeadline is after how long, in seconds, a tick that was missed is
	// not made up for: a cluster that was stopped for a week does not start
	// with a week of ticks.
	cronDeadline = 30
)

func (p *patch) deployment(id instrument.ModuleID) *appsv1.Deployment {
	replicas, history := int32(p.Value(id, "replicas")), int32(2)
	out := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: p.meta(id, id.Name()),
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			// The selector is immutable, so it holds the one label that tells
			// this module from all others and nothing that could change.
			Selector:             &metav1.LabelSelector{MatchLabels: map[string]string{ModuleLabel: moduleLabels(id)[ModuleLabel]}},
			Strategy:             p.strategy(id),
			RevisionHistoryLimit: &history,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: p.podLabels(id), Annotations: p.lifecycle(id)},
				Spec:       p.podSpec(id),
			},
		},
	}
	if n := int(p.Value(id, "restarts")); n > 0 {
		out.Spec.Template.Annotations[RestartsAnnotation] = strconv.Itoa(n)
	}
	hpa, ok := p.scaled[id]
	switch {
	case !p.power:
		replicas = 0
	case ok:
		// The autoscaler's hand is on the knob: what it has set stays. Only a
		// Deployment that is new or stands at nought, from where no autoscaler
		// moves, is set by the knob, within the autoscaler's range.
		replicas = min(max(replicas, int32(p.Value(hpa, "min"))), int32(p.Value(hpa, "max")))
		out.Annotations[OverridesAnnotation] = keep("has(self.spec) && has(self.spec.replicas) && self.spec.replicas > 0", "self.spec.replicas")
	}
	return out
}

// strategy states both numbers of a rolling update always, so that server-side
// apply owns them and takes them away when the strategy becomes Recreate. Both
// at zero would be refused by the API, because nothing could ever move: then
// one pod more is allowed, and none fewer, so that no voice drops out.
func (p *patch) strategy(id instrument.ModuleID) appsv1.DeploymentStrategy {
	if p.Word(id, "strategy") == string(appsv1.RecreateDeploymentStrategyType) {
		return appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	}
	surge, unavailable := intstr.FromInt32(int32(p.Value(id, "max_surge"))), intstr.FromInt32(int32(p.Value(id, "max_unavailable")))
	if surge.IntValue() == 0 && unavailable.IntValue() == 0 {
		surge = intstr.FromInt32(1)
	}
	return appsv1.DeploymentStrategy{
		Type:          appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable},
	}
}

func (p *patch) pod(id instrument.ModuleID) *corev1.Pod {
	spec := p.podSpec(id)
	out := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: p.meta(id, podName(id, spec)),
		Spec:       spec,
	}
	out.Labels = p.podLabels(id)
	maps.Copy(out.Annotations, p.lifecycle(id))
	return out
}

// podName is the module's name where the pod is born as most are. What a pod
// is born with cannot be changed in its life, save its image: one that is to
// have something else, such as a node, is another pod and has another name, so
// that the cluster replaces the one by the other.
func podName(id instrument.ModuleID, spec corev1.PodSpec) string {
	plain := (&patch{Topology: &mapping.Topology{}}).podSpec(id)
	born := *spec.DeepCopy()
	born.Containers[0].Image, plain.Containers[0].Image = "", ""
	if reflect.DeepEqual(born, plain) {
		return id.Name()
	}
	text, err := json.Marshal(born)
	if err != nil {
		panic(err) // a struct of the API's own
	}
	h := fnv.New32a()
	h.Write(text)
	return fmt.Sprintf("%s-%08x", id.Name(), h.Sum32())
}

func (p *patch) podLabels(id instrument.ModuleID) map[string]string {
	labels := moduleLabels(id)
	own, err := podLabels(p.Word(id, "labels"))
	if err == nil { // Validate has seen to it
		maps.Copy(labels, own)
	}
	return labels
}

// IsVoice tells whether an image is the instrument's own for the containers of
// a patch, of whatever registry and version.
func IsVoice(image string) bool {
	name, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name == "k8s-synth/voice" || strings.HasSuffix(name, "/k8s-synth/voice")
}

// podSpec is one container that needs nothing of the cluster but a place, and
// that would be let in where Kubernetes' restricted standard holds. Our own
// image is asked by a probe whether it is ready; of others nothing is known.
func (p *patch) podSpec(id instrument.ModuleID) corev1.PodSpec {
	image, no, yes, grace := p.Word(id, "image"), false, true, int64(gracePeriod)
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
	}
	container := corev1.Container{
		Name:            containerName,
		Image:           image,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Env:             []corev1.EnvVar{field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace"), field("NODE_NAME", "spec.nodeName")},
		Resources: corev1.ResourceRequirements{
			// It is always there, because a quota lets no pod in that asks for
			// nothing. A limit would throttle the voice.
			Requests: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(int64(p.Value(id, "cpu_request")), resource.DecimalSI)},
		},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: &no,
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
	pod := corev1.PodSpec{
		AutomountServiceAccountToken:  &no,
		EnableServiceLinks:            &no,
		TerminationGracePeriodSeconds: &grace,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   &yes,
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Affinity: p.affinity(id),
	}
	if IsVoice(image) {
		user := int64(voiceUser)
		pod.SecurityContext.RunAsUser = &user
		container.SecurityContext.ReadOnlyRootFilesystem = &yes
		if kind := id.Kind(); kind == mapping.KindJob || kind == mapping.KindCronJob {
			container.Args = []string{"job", "--for", seconds(p.Value(id, "duration"))}
		} else {
			container.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: voicePort, Protocol: corev1.ProtocolTCP}}
			container.ReadinessProbe = &corev1.Probe{
				ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http"), Scheme: corev1.URISchemeHTTP}},
				PeriodSeconds: 1, TimeoutSeconds: 1, SuccessThreshold: 1, FailureThreshold: 2,
			}
		}
	}
	pod.Containers = []corev1.Container{container}
	return pod
}

// affinity holds pods to the nodes that they are patched to.
func (p *patch) affinity(id instrument.ModuleID) *corev1.Affinity {
	nodes := p.places[id]
	if len(nodes) == 0 {
		return nil
	}
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: nodes}},
		}}},
	}}
}

// autoscaler is nil where no cable says what to scale, and without power: it
// would hold on to a Deployment that is to have nothing.
func (p *patch) autoscaler(id instrument.ModuleID) *autoscalingv2.HorizontalPodAutoscaler {
	target, ok := p.scalers[id]
	if !ok || !p.power {
		return nil
	}
	least, percent := int32(p.Value(id, "min")), int32(p.Value(id, "target"))
	down, up, most := int32(p.Value(id, "stabilization")), int32(0), autoscalingv2.MaxChangePolicySelect
	// A whole cable of replicas within a second is as fast as the API lets it
	// be; the controller's own period is the limit.
	fast := []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PodsScalingPolicy, Value: instrument.MaxReplicas, PeriodSeconds: 1}}
	return &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta:   metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"},
		ObjectMeta: p.meta(id, id.Name()),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: target.Name()},
			MinReplicas:    &least,
			MaxReplicas:    int32(p.Value(id, "max")),
			Metrics: []autoscalingv2.MetricSpec{{
				Type: autoscalingv2.ResourceMetricSourceType,
				Resource: &autoscalingv2.ResourceMetricSource{
					Name:   corev1.ResourceCPU,
					Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
				},
			}},
			Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{
				ScaleUp:   &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &up, SelectPolicy: &most, Policies: fast},
				ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &down, SelectPolicy: &most, Policies: fast},
			},
		},
	}
}

// jobTemplate is that of the pods of Jobs: one that fails is another pod and
// not another start of the same, so that each is heard.
func (p *patch) jobTemplate(id instrument.ModuleID) corev1.PodTemplateSpec {
	spec := p.podSpec(id)
	spec.RestartPolicy = corev1.RestartPolicyNever
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: moduleLabels(id), Annotations: map[string]string{CompleteAnnotation: seconds(p.Value(id, "duration"))}},
		Spec:       spec,
	}
}

func (p *patch) cronJob(id instrument.ModuleID) *batchv1.CronJob {
	suspend := !p.power || p.Value(id, "suspend") != 0
	deadline, history, backoff := int64(cronDeadline), int32(1), int32(0)
	return &batchv1.CronJob{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "CronJob"},
		ObjectMeta: p.meta(id, id.Name()),
		Spec: batchv1.CronJobSpec{
			Schedule:                   p.Word(id, "schedule"),
			StartingDeadlineSeconds:    &deadline,
			ConcurrencyPolicy:          batchv1.ConcurrencyPolicy(p.Word(id, "concurrency")),
			Suspend:                    &suspend,
			SuccessfulJobsHistoryLimit: &history,
			FailedJobsHistoryLimit:     &history,
			JobTemplate: batchv1.JobTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: moduleLabels(id)},
				Spec:       batchv1.JobSpec{BackoffLimit: &backoff, Template: p.jobTemplate(id)},
			},
		},
	}
}

// job is the last run that was asked for. A run keeps the work that it was
// started with, which the API would not change anyway; only how many of its
// pods work at a time follows the knob. Without power it is suspended, and not
// taken away: it would run again when the power comes back.
func (p *patch) job(id instrument.ModuleID) *batchv1.Job {
	completions, parallelism, backoff := int32(p.Value(id, "completions")), int32(p.Value(id, "parallelism")), int32(p.Value(id, "backoff_limit"))
	suspend := !p.power
	out := &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: p.meta(id, id.Name()+"-"+strconv.Itoa(int(p.Value(id, "runs")))),
		Spec: batchv1.JobSpec{
			Completions:  &completions,
			Parallelism:  &parallelism,
			BackoffLimit: &backoff,
			Suspend:      &suspend,
			Template:     p.jobTemplate(id),
		},
	}
	out.Annotations[OverridesAnnotation] = keep("has(self.spec)", "self.spec.completions", "self.spec.template")
	return out
}
