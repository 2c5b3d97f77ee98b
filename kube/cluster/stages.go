package cluster

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
)

// Annotations by which a scene, or anyone with kubectl, sets how a simulated
// pod behaves. Durations are written as in Go ("800ms", "1.5s", "1m30s"); one
// that cannot be read counts as absent.
const (
	AnnotationStart    = "k8s-synth.io/start"    // from scheduled to running
	AnnotationReady    = "k8s-synth.io/ready"    // from running to ready
	AnnotationStop     = "k8s-synth.io/stop"     // from deletion to gone
	AnnotationJitter   = "k8s-synth.io/jitter"   // at most this is added to each of the three, uniformly
	AnnotationComplete = "k8s-synth.io/complete" // from ready to succeeded, for a Job's pods
	// AnnotationCrash makes a running pod fail, again after each restart, as
	// long as it is there. Its value is the reason: OOMKilled (exit code 137)
	// or any other, such as Error (exit code 1).
	AnnotationCrash = "k8s-synth.io/crash"
	// AnnotationCrashes ends the crashes after so many restarts: with "1" the
	// pod fails once and comes back. Without it they go on.
	AnnotationCrashes = "k8s-synth.io/crashes"
	// AnnotationBackOff is the rest before the first restart; it doubles with
	// each, up to maxBackOffDoublings times.
	AnnotationBackOff = "k8s-synth.io/back-off"
)

// Durations where the annotation is absent.
const (
	DefaultStart    = 600 * time.Millisecond
	DefaultReady    = 900 * time.Millisecond
	DefaultStop     = 400 * time.Millisecond
	DefaultComplete = 3 * time.Second
	DefaultBackOff  = time.Second
)

const (
	// crashLife is how long a restarted container of a crashing pod runs, and
	// crashRest how long its end is seen before the back-off begins.
	crashLife = 300 * time.Millisecond
	crashRest = 400 * time.Millisecond
	// reasonOOM is why a container ends that nobody told to crash: it needs
	// more memory than its limit.
	reasonOOM = "OOMKilled"
	// maxBackOffDoublings: 1 s grows to 32 s, in ratio to the kubelet's 10 s
	// to 5 min.
	maxBackOffDoublings = 5
	// nodeHeartbeat is the interval of a node's status, as the kubelet's
	// nodeStatusReportFrequency; in between, its lease tells that it lives.
	nodeHeartbeat = 5 * time.Minute
)

// Expressions are in jq. KWOK evaluates them on the pod at each of its changes.
var (
	// jqMilliseconds reads a Go duration; null where there is none.
	jqMilliseconds = `def ms: [scan("([0-9]*\\.?[0-9]+)(ns|us|µs|ms|h|m|s)") | (.[0]|tonumber) * ({"h":3600000,"m":60000,"s":1000,"ms":1,"us":0.001,"µs":0.001,"ns":0.000001}[.[1]])] | add;
def duration($key; $default): (.metadata.annotations[$key] // "" | ms) // $default;
def restarts: .status.containerStatuses[0].restartCount // 0;
`
	jqDeleting = `.metadata.deletionTimestamp`
	jqPhase    = `.status.phase`
	jqReady    = `.status.conditions.[] | select(.type == "Ready") | .status`
	jqRunning  = `.status.containerStatuses.[].state.running`
	// jqOverLimit is whether a container has a memory limit below its share of
	// what the pod uses.
	jqOverLimit = fmt.Sprintf(`def bytes: capture("^(?<n>[0-9.]+([eE][+-]?[0-9]+)?)(?<u>[A-Za-z]*)$") | (.n | tonumber) * ({"m":0.001,"k":1e3,"M":1e6,"G":1e9,"T":1e12,"Ki":1024,"Mi":1048576,"Gi":1073741824,"Ti":1099511627776}[.u] // 1);
(((.metadata.annotations[%q] // "") | tonumber? // 0) * 1048576 / ([.spec.containers | length, 1] | max)) as $used | [.spec.containers[]?.resources.limits.memory // empty | tostring | bytes] | any(. < $used)`, AnnotationMemory)
	// jqCrashing exists while the pod is told to crash, or needs more memory
	// than it may have.
	jqCrashing = jqMilliseconds + fmt.Sprintf(
		`if (.metadata.annotations[%q] // "") != "" and ((.metadata.annotations[%q] // "") | tonumber? // infinite) > restarts then true elif (.metadata.annotations[%q] // "") == "" then empty elif (%s) then true else empty end`,
		AnnotationCrash, AnnotationCrashes, AnnotationMemory, jqOverLimit)
	jqOwnerKind = `.metadata.ownerReferences.[].kind`
)

func exists(key string) internalversion.MatchExpression {
	return internalversion.MatchExpression{JQ: &internalversion.SelectorJQ{Key: key, Operator: internalversion.SelectorOpExists}}
}

func absent(key string) internalversion.MatchExpression {
	return internalversion.MatchExpression{JQ: &internalversion.SelectorJQ{Key: key, Operator: internalversion.SelectorOpDoesNotExist}}
}

func in(key string, values ...string) internalversion.MatchExpression {
	return internalversion.MatchExpression{JQ: &internalversion.SelectorJQ{Key: key, Operator: internalversion.SelectorOpIn, Values: values}}
}

func notIn(key string, values ...string) internalversion.MatchExpression {
	return internalversion.MatchExpression{JQ: &internalversion.SelectorJQ{Key: key, Operator: internalversion.SelectorOpNotIn, Values: values}}
}

// delay waits for the milliseconds that a jq expression gives, and for up to
// jitter (another) more.
func delay(milliseconds, jitter string) *internalversion.StageDelay {
	expr := func(e string) *internalversion.ExpressionFrom {
		return &internalversion.ExpressionFrom{JQ: &internalversion.ExpressionJQ{Expression: jqMilliseconds + `"\(` + e + ` | floor)ms"`}}
	}
	d := &internalversion.StageDelay{DurationFrom: expr(milliseconds)}
	if jitter != "" {
		// KWOK's jitter is the upper end of the range, not its width.
		d.JitterDurationFrom = expr("(" + milliseconds + ") + (" + jitter + ")")
	}
	return d
}

// annotated is the jq expression of an annotation's duration in ms.
func annotated(key string, def time.Duration) string {
	return fmt.Sprintf("duration(%q; %d)", key, def.Milliseconds())
}

func podStage(name string, d *internalversion.StageDelay, match []internalversion.MatchExpression, steps ...internalversion.StageStep) *internalversion.Stage {
	return &internalversion.Stage{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: internalversion.StageSpec{
			ResourceRef: internalversion.StageResourceRef{APIGroup: "v1", Kind: "Pod"},
			Selector:    &internalversion.StageSelector{MatchExpressions: match},
			Delay:       d,
			Steps:       steps,
		},
	}
}

func patchStatus(template string) internalversion.StageStep {
	return internalversion.StageStep{Patch: &internalversion.StagePatch{Subresource: "status", Root: "status", Template: template}}
}

// conditions is the template of a pod's conditions, with the two that tell
// whether it is ready.
func conditions(ready bool, reason string) string {
	status, extra := `"True"`, ""
	if !ready {
		status = `"False"`
		extra = "\n  reason: " + reason + "\n  message: 'containers with unready status: [{{ range .spec.containers }}{{ .name }} {{ end }}]'"
	}
	var b strings.Builder
	b.WriteString("conditions:\n")
	for _, t := range []string{"PodReadyToStartContainers", "Initialized"} {
		fmt.Fprintf(&b, "- type: %s\n  status: \"True\"\n  lastTransitionTime: {{ or .status.startTime $now | Quote }}\n", t)
	}
	for _, t := range []string{"Ready", "ContainersReady"} {
		fmt.Fprintf(&b, "- type: %s\n  status: %s\n  lastTransitionTime: {{ $now | Quote }}%s\n", t, status, extra)
	}
	return b.String()
}

// eachContainer is the template of the containers' statuses: body may change
// $s, a copy of the status so far, in place.
func eachContainer(body string) string {
	return `containerStatuses:
{{ range $index, $container := .spec.containers }}
{{ $s := dict "name" $container.name "image" $container.image "imageID" "" "restartCount" 0 }}
{{ if $root.status.containerStatuses }}{{ $s = deepCopy (index $root.status.containerStatuses $index) }}{{ end }}
` + body + `
- {{ $s | toJson }}
{{ end }}
`
}

const templateHead = "{{ $now := Now }}\n{{ $root := . }}\n"

// templateRun puts the containers into the running state, not yet ready.
var templateRun = `{{ $_ := set $s "ready" false }}{{ $_ := set $s "started" true }}
{{ $_ := set $s "containerID" (printf "k8s-synth://%s-%s" $root.metadata.uid $container.name) }}
{{ $_ := set $s "state" (dict "running" (dict "startedAt" $now)) }}`

// templateEnd puts them into the terminated state, for the reason that the
// annotation gives, or for another.
func templateEnd(reason string) string {
	return fmt.Sprintf(`{{ $annotations := or $root.metadata.annotations dict }}
{{ $reason := or (index $annotations %q) %q }}
{{ $code := 1 }}{{ if eq $reason "OOMKilled" }}{{ $code = 137 }}{{ end }}
{{ $since := $now }}{{ with $s.state }}{{ with .running }}{{ $since = .startedAt }}{{ end }}{{ end }}
{{ $_ := set $s "ready" false }}{{ $_ := set $s "started" false }}
{{ $_ := set $s "state" (dict "terminated" (dict "exitCode" $code "reason" $reason "startedAt" $since "finishedAt" $now "containerID" (or $s.containerID ""))) }}`, AnnotationCrash, reason)
}

// podStages is the life of a simulated pod:
//
//	Pending ─start→ Running ─ready→ Ready ─(deleted) stop→ gone
//	                   │  ↖────────────────────────┐
//	                   └─crash→ terminated ─→ CrashLoopBackOff
//
// Exactly one stage fits each state, since KWOK chooses among several by
// chance.
func podStages() []*internalversion.Stage {
	jitter := annotated(AnnotationJitter, 0)
	alive := absent(jqDeleting)
	return []*internalversion.Stage{
		podStage("pod-start", delay(annotated(AnnotationStart, DefaultStart), jitter),
			[]internalversion.MatchExpression{alive, in(jqPhase, "Pending")},
			patchStatus(templateHead+conditions(false, "ContainersNotReady")+
				`{{ if .spec.initContainers }}
initContainerStatuses:
{{ range .spec.initContainers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  restartCount: 0
  ready: true
  {{ if eq (or .restartPolicy "") "Always" }}
  started: true
  state:
    running:
      startedAt: {{ $now | Quote }}
  {{ else }}
  started: false
  state:
    terminated:
      exitCode: 0
      reason: Completed
      startedAt: {{ $now | Quote }}
      finishedAt: {{ $now | Quote }}
  {{ end }}
{{ end }}
{{ end }}
`+eachContainer(templateRun)+`
{{ with NodeIPsWith .spec.nodeName }}
hostIP: {{ index . 0 | Quote }}
hostIPs:
{{ range . }}
- ip: {{ . | Quote }}
{{ end }}
{{ end }}
{{ with PodIPsWith .spec.nodeName (or .spec.hostNetwork false) (or .metadata.uid "") (or .metadata.name "") (or .metadata.namespace "") }}
podIP: {{ index . 0 | Quote }}
podIPs:
{{ range . }}
- ip: {{ . | Quote }}
{{ end }}
{{ end }}
phase: Running
startTime: {{ $now | Quote }}
`)),

		podStage("pod-ready", delay(annotated(AnnotationReady, DefaultReady), jitter),
			[]internalversion.MatchExpression{alive, in(jqPhase, "Running"), exists(jqRunning), notIn(jqReady, "True"), absent(jqCrashing)},
			patchStatus(templateHead+conditions(true, "")+eachContainer(`{{ $_ := set $s "ready" true }}`))),

		podStage("pod-stop", delay(annotated(AnnotationStop, DefaultStop), jitter),
			[]internalversion.MatchExpression{exists(jqDeleting), absent(".metadata.finalizers.[0]")},
			internalversion.StageStep{Delete: true}),

		// A finalizer, such as the Job controller's, waits for a final phase.
		podStage("pod-stop-finalized", delay(annotated(AnnotationStop, DefaultStop), jitter),
			[]internalversion.MatchExpression{exists(jqDeleting), exists(".metadata.finalizers.[0]"), notIn(jqPhase, "Succeeded", "Failed")},
			patchStatus(templateHead+conditions(false, "PodFailed")+eachContainer(templateEnd("Error"))+"phase: Failed\n")),

		podStage("pod-complete", delay(annotated(AnnotationComplete, DefaultComplete), jitter),
			[]internalversion.MatchExpression{alive, in(jqPhase, "Running"), in(jqReady, "True"), in(jqOwnerKind, "Job"), absent(jqCrashing)},
			patchStatus(templateHead+conditions(false, "PodCompleted")+eachContainer(
				`{{ $_ := set $s "ready" false }}{{ $_ := set $s "started" false }}
{{ $_ := set $s "state" (dict "terminated" (dict "exitCode" 0 "reason" "Completed" "startedAt" $s.state.running.startedAt "finishedAt" $now)) }}`)+"phase: Succeeded\n")),

		podStage("pod-crash", delay(fmt.Sprintf(`if ([%s] == ["True"]) then 0 else %d end`, jqReady, crashLife.Milliseconds()), ""),
			[]internalversion.MatchExpression{alive, in(jqPhase, "Running"), exists(jqRunning), exists(jqCrashing), notIn(".spec.restartPolicy", "Never")},
			patchStatus(templateHead+conditions(false, "ContainersNotReady")+eachContainer(templateEnd(reasonOOM)))),

		podStage("pod-fail", delay(fmt.Sprintf(`if ([%s] == ["True"]) then 0 else %d end`, jqReady, crashLife.Milliseconds()), ""),
			[]internalversion.MatchExpression{alive, in(jqPhase, "Running"), exists(jqRunning), exists(jqCrashing), in(".spec.restartPolicy", "Never")},
			patchStatus(templateHead+conditions(false, "PodFailed")+eachContainer(templateEnd(reasonOOM))+"phase: Failed\n")),

		podStage("pod-back-off", delay(fmt.Sprint(crashRest.Milliseconds()), ""),
			[]internalversion.MatchExpression{alive, in(jqPhase, "Running"), exists(`.status.containerStatuses.[].state.terminated`), absent(jqRunning)},
			patchStatus(templateHead+eachContainer(
				`{{ $_ := set $s "lastState" $s.state }}
{{ $_ := set $s "state" (dict "waiting" (dict "reason" "CrashLoopBackOff" "message" (printf "back-off restarting failed container %s" $container.name))) }}`)),
			internalversion.StageStep{Event: &internalversion.StageEvent{Type: "Warning", Reason: "BackOff", Message: "Back-off restarting failed container"}}),

		// Once it is told no more to crash, it need not wait for the back-off.
		podStage("pod-restart", delay(fmt.Sprintf(`if ([%s] | length) > 0 then %s * pow(2; [restarts, %d] | min) else %s end`,
			strings.TrimPrefix(jqCrashing, jqMilliseconds), annotated(AnnotationBackOff, DefaultBackOff), maxBackOffDoublings, annotated(AnnotationStart, DefaultStart)), ""),
			[]internalversion.MatchExpression{alive, in(jqPhase, "Running"), in(`.status.containerStatuses.[].state.waiting.reason`, "CrashLoopBackOff")},
			patchStatus(templateHead+conditions(false, "ContainersNotReady")+eachContainer(
				templateRun+`{{ $_ := set $s "restartCount" (add1 (int $s.restartCount)) }}`))),
	}
}

// nodeStages make a node ready and keep its status fresh. Capacity and
// addresses come with the node (see newNode) and are whoever changes them's.
func nodeStages() []*internalversion.Stage {
	ref := internalversion.StageResourceRef{APIGroup: "v1", Kind: "Node"}
	template := func(conditions, since string) string {
		return templateHead + `conditions:
{{ range ` + conditions + ` }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ ` + since + ` | Quote }}
{{ end }}
`
	}
	stage := func(name string, d *internalversion.StageDelay, match internalversion.MatchExpression, template string) *internalversion.Stage {
		return &internalversion.Stage{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: internalversion.StageSpec{
				ResourceRef: ref,
				Selector:    &internalversion.StageSelector{MatchExpressions: []internalversion.MatchExpression{match}},
				Delay:       d,
				Steps:       []internalversion.StageStep{patchStatus(template)},
			},
		}
	}
	return []*internalversion.Stage{
		stage("node-initialize", nil, notIn(jqReady, "True"), template("NodeConditions", "$now")),
		// As they are: memory pressure is not KWOK's to end.
		stage("node-heartbeat", delay(fmt.Sprint(nodeHeartbeat.Milliseconds()), "30000"), in(jqReady, "True"),
			template(".status.conditions", ".lastTransitionTime")),
	}
}
