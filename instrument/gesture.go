package instrument

// Gesture is what a strike on a Voice sounds like. It travels as a voltage
// beside its trigger, half a volt a gesture, so that a cable can carry it, a
// quantizer can bend it and external gear can see it.
type Gesture uint8

// The vocabulary. Two cues at least tell each from the others: register and
// envelope, or direction and timbre.
const (
	NoGesture        Gesture = iota
	GestureScheduled         // a pluck on the node's side
	GestureReady             // a soft high pluck as the voice comes into tune
	GestureServed            // a drop of water at the endpoint's pitch
	GestureMissed            // a dry click
	GestureFailed            // a damped low strike; the voice is cut
	GestureOOM               // the pitch falls an octave in 300 ms, saturating
	GestureCrashLoop         // the strike repeated with rests that double
	GestureSucceeded         // a soft bell, once
	GestureEvicted           // a sigh, while the voice walks to its new node
	GestureUp                // three rising plucks: more was asked for
	GestureDown              // three falling plucks: less was asked for
	GesturePulse             // a quiet low pulse: the API does not answer
	gestureCount
)

// gestureWords are the gestures as switches and logs name them.
var gestureWords = []string{"none", "scheduled", "ready", "served", "missed", "failed", "oom", "crash_loop", "succeeded", "evicted", "up", "down", "pulse"}

// gestureMeanings say how a Voice plays the gestures, in their order.
var gestureMeanings = [gestureCount]string{
	NoGesture:        "not at all",
	GestureScheduled: "a pluck on the node's side",
	GestureReady:     "a soft high pluck as the voice comes into tune",
	GestureServed:    "a drop of water at the endpoint's pitch",
	GestureMissed:    "a dry click",
	GestureFailed:    "a damped low strike; the voice is cut",
	GestureOOM:       "the pitch falls an octave in 300 ms, saturating; the voice is cut",
	GestureCrashLoop: "the strike repeated with rests that double",
	GestureSucceeded: "a soft bell, once",
	GestureEvicted:   "a sigh, while the voice walks to its new node",
	GestureUp:        "three rising plucks: more was asked for",
	GestureDown:      "three falling plucks: less was asked for",
	GesturePulse:     "a quiet low pulse: the API does not answer",
}

// String returns the gesture's name.
func (g Gesture) String() string {
	if int(g) < len(gestureWords) {
		return gestureWords[g]
	}
	return "unknown"
}

// gestureVolts is the distance between two gestures; 12 of them fit into 0…6 V.
const gestureVolts = 0.5

// Volts returns the gesture's voltage on a kind jack.
func (g Gesture) Volts() float32 { return float32(g) * gestureVolts }

// GestureAt returns the gesture nearest to a voltage, NoGesture where there
// is none. Audio thread.
func GestureAt(volts float32) Gesture {
	if !(volts > 0) {
		return NoGesture
	}
	if g := Gesture(min(volts/gestureVolts+0.5, 255)); g < gestureCount {
		return g
	}
	return NoGesture
}
