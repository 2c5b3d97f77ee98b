package instrument

import "slices"

// BlockSize is the quantum of the engine in frames: 1.33 ms at 48 kHz. It is
// the longest slice a Processor sees, the delay of a feedback cable, and the
// block of the ring to the sound device.
const BlockSize = 64

// MaxPoly is the most channels that one cable carries.
const MaxPoly = 16

// Voltages of the standard that the graph itself needs; the signal
// mathematics of gates and pitches is in dsp.
const (
	// GateVolts is what a gate or trigger output puts out while high.
	GateVolts = 10
	// AudioVolts is the peak of an audio signal.
	AudioVolts = 5
)

// Signal is what one output jack carries during one slice, in volts.
type Signal struct {
	// Channels is how many of Volts are in use, 1 to MaxPoly.
	Channels int
	Volts    [MaxPoly][BlockSize]float32
	// Held has bit c set when channel c is one finite voltage throughout Volts,
	// which then need not be looked at frame by frame.
	Held uint16

	node *node     // whose output jack this is, if it is one
	loop *feedback // whose delayed view this is, if it is one
}

// Fill sets the first channel to v for all frames and makes the signal
// monophonic. Audio thread.
func (s *Signal) Fill(v float32) {
	s.Channels, s.Held = 1, 1
	b := &s.Volts[0]
	for i := range b {
		b[i] = v
	}
}

// silent tells whether the first channel is known to be 0 V throughout.
// Audio thread.
func (s *Signal) silent() bool { return s.Held&1 != 0 && s.Volts[0][0] == 0 }

// held tells whether what Channel returns for c is known to be one voltage
// throughout. Audio thread.
func (s *Signal) held(c int) bool {
	if s.Channels == 1 {
		c = 0
	}
	return c >= s.Channels || s.Held&(1<<c) != 0
}

// Channel returns channel c; a monophonic signal answers for every channel,
// and a channel that a polyphonic one has not is nil. Audio thread.
func (s *Signal) Channel(c int) *[BlockSize]float32 {
	if s.Channels == 1 {
		return &s.Volts[0]
	}
	if c < s.Channels {
		return &s.Volts[c]
	}
	return nil
}

// SignalKind is what a jack's volts mean.
type SignalKind uint8

const (
	Audio     SignalKind = iota // ±5 V
	CV                          // 0…10 V or ±5 V
	Pitch                       // 1 V/octave, 0 V = C4
	Gate                        // 0 or 10 V, high while it holds
	Trigger                     // 10 V for 1 ms
	Claim                       // a Deployment's claim on a Pod panel: a gate that is also an owner reference
	Pods                        // a Deployment's pods: polyphonic gates that are also a label selector
	Presence                    // Pod lifecycle input: takes a claim, or a gate that makes a bare pod exist
	Selector                    // Service selector input: the pods that the Service selects
	Placement                   // Node load input: the pods that must run on the Node
	Scale                       // a HorizontalPodAutoscaler's hand on a Deployment: 1 V a replica
)

var kindNames = [...]string{"audio", "CV", "pitch", "gate", "trigger", "claim", "pods", "lifecycle", "selector", "placement", "scale"}

// String returns the kind's name as the panels print it.
func (k SignalKind) String() string { return kindNames[k] }

// CableMeaning is what a cable between two modules of the cluster says of it.
type CableMeaning struct {
	// From and To are examples of its ends, as kind/jack; another number at
	// the end of a jack means the same of another row.
	From, To string
	// Holds is what the cluster must hold while the cable is in.
	Holds string
}

// cableMeanings lists every cable that says something to the cluster or
// brings its own state back.
var cableMeanings = []CableMeaning{
	{"deployment/claim_1", "pod/lifecycle", "nothing new: the Pod panel shows the replica in that row of the Deployment, which owns it through its ReplicaSet"},
	{"pod/ready", "deployment/ready_1", "nothing new: status on its way home; lights the row"},
	{"deployment/pods", "service/selector", "the Service's selector matches the labels of the Deployment's pods"},
	{"pod/ready", "service/selector", "the Service's selector matches that pod; one that a Deployment claims, through the label of its panel"},
	{"service/endpoint_1", "pod/request", "nothing new: the endpoint of that place in the EndpointSlices is struck as it takes a request"},
	{"ingress/route_1", "service/request", "the Ingress has a rule with its host and that path, and the Service behind it; no more than one Service a route"},
	{"deployment/pods", "node/load", "the Deployment's pods must run on that Node: node affinity in the pod template"},
	{"pod/load", "node/load", "that bare pod must run on that Node; a replica's place is its Deployment's to say"},
	{"hpa/scale", "deployment/replicas_cv", "a HorizontalPodAutoscaler has the Deployment as its target, and the number of replicas is its to say; no more than one Deployment an autoscaler"},
	{"cronjob/active", "pod/lifecycle", "as with any gate, a MIDI note's or a clock's: a bare pod exists while it is high"},
	{"controller/act", "deployment/replicas_cv", "the replicas that knob and CV come to: a control loop drawn with cables"},
	{"controller/act", "node/capacity_cv", "the capacity that knob and CV come to"},
}

// CableMeanings returns what the cables between modules of the cluster say.
func CableMeanings() []CableMeaning { return slices.Clone(cableMeanings) }

// cableMeans tells whether a cable from an output to an input can mean
// anything. On sound modules any voltage goes anywhere, as in any rack; an
// input that stands for a state of the cluster is choosier.
func cableMeans(fromModule *ModuleSpec, from *JackSpec, toModule *ModuleSpec, to *JackSpec) (ok bool, why string) {
	pod := fromModule.Kind == "pod"
	switch {
	case to.Kind == Presence:
		if from.Kind == Claim || from.Kind == Gate {
			return true, ""
		}
		return false, "a pod's lifecycle takes a Deployment's claim, or a gate that holds the pod up"
	case from.Kind == Claim:
		return false, "a claim only means something to a Pod's lifecycle"
	case to.Kind == Selector:
		if from.Kind == Pods || pod && from.Name == "ready" {
			return true, ""
		}
		return false, "a Service selects a Deployment's pods, or the pod whose ready gate is patched to it"
	case to.Kind == Placement:
		if from.Kind == Pods || pod && from.Name == "load" {
			return true, ""
		}
		return false, "a Node carries a Deployment's pods, or the pod whose load is patched to it"
	case from.Kind == Scale:
		if toModule.Kind == "deployment" && to.Name == "replicas_cv" {
			return true, ""
		}
		return false, "an autoscaler scales a Deployment: patch it to replicas_cv; its desired jack carries the same as plain CV"
	case toModule.Cluster() && from.Kind == Audio:
		return false, "sound changes too fast to be a wish for the cluster; it would need an envelope first"
	case toModule.Cluster() && from.Kind == Pitch && (to.Kind == Gate || to.Kind == Trigger):
		return false, "a pitch never stands for yes or no"
	}
	return true, ""
}
