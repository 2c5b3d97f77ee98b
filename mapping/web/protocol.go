package web

import (
	"encoding/json"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// State is all that a page needs to draw the rack. Values that move are told
// one by one after it.
type State struct {
	// Revision counts the states that were told; a page's edits name the one
	// that they were made on.
	Revision uint64   `json:"revision"`
	Scene    string   `json:"scene"`
	Title    string   `json:"title"`
	Rate     float64  `json:"rate"` // Hz
	Modules  []Module `json:"modules"`
	Cables   []Cable  `json:"cables"`
	// Outputs are the addresses of the volts in a meter message, in order.
	Outputs []mapping.Address `json:"outputs"`
	Scenes  []SceneInfo       `json:"scenes"`
	// SetLists can be chosen to step through; their slots are 0.
	SetLists []SceneInfo `json:"setLists,omitempty"`
	// Undo and Redo say what would be taken back or done again; empty is nothing.
	Undo string `json:"undo,omitempty"`
	Redo string `json:"redo,omitempty"`
	// Cluster names the cluster that is played, Own that it is the embedded one.
	Cluster string `json:"cluster"`
	Own     bool   `json:"own"`
	// ListenOnly tells that nothing is ever written to the cluster.
	ListenOnly bool `json:"listenOnly,omitempty"`
}

// Module is one module of the rack, with its place.
type Module struct {
	ID     string             `json:"id"`
	Row    int                `json:"row"`
	HP     int                `json:"hp"` // of its left edge
	Params map[string]float64 `json:"params"`
	Text   map[string]string  `json:"text"`
}

// Cable is one cable, by the jacks at its ends: kind/name/jack.
type Cable struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Sensed tells that it is a cable of the case, which a hand plugged there.
	Sensed bool `json:"sensed,omitempty"`
	// Cluster tells that it says something to the cluster.
	Cluster bool `json:"cluster,omitempty"`
}

// SceneInfo is a scene that can be played.
type SceneInfo struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	About string `json:"about,omitempty"`
	// Slot is the place among the scene slots, from 1; 0 is none.
	Slot int `json:"slot,omitempty"`
}

// Event is one line of the ticker.
type Event struct {
	Time float64 `json:"time"` // ms since 1970
	Kind string  `json:"kind"` // pod, deployment, …, hand, problem
	Name string  `json:"name"`
	Text string  `json:"text"`
}

// Request is what a page asks for: exactly one field is set.
type Request struct {
	Set  *Set   `json:"set,omitempty"`
	Plug *Cable `json:"plug,omitempty"`
	Pull *Pull  `json:"pull,omitempty"`
	// Repatch pulls and plugs at once: all of it or nothing.
	Repatch *Repatch `json:"repatch,omitempty"`
	Add     *Add     `json:"add,omitempty"`
	Remove  *Named   `json:"remove,omitempty"`
	Move    *Module  `json:"move,omitempty"` // only id, row and hp count
	// Act is an action by name, as controllers are bound to: panic, undo, redo,
	// arm, scene:NAME, learn, …
	Act *Named `json:"act,omitempty"`
	// YAML asks for a module as YAML; with Text it is to become that.
	YAML *YAML `json:"yaml,omitempty"`
	// Diff asks what an edit would change in the cluster.
	Diff *Diff `json:"diff,omitempty"`
	// Scope asks for the newest picture of a scope, a Trace.
	Scope *Scope `json:"scope,omitempty"`
	// Save writes the scene to the player's folder; with a name under that name.
	Save *Named `json:"save,omitempty"`
	// Pictures asks for calibration plots and what else there is to look at.
	Pictures *struct{} `json:"pictures,omitempty"`
}

// Set turns a knob, writes a word, or puts volts on an input.
type Set struct {
	Address mapping.Address `json:"address"`
	Value   float64         `json:"value"`
	Word    string          `json:"word,omitempty"`
}

// Pull takes the cable out of an input.
type Pull struct {
	To string `json:"to"`
}

// Repatch takes cables out of inputs and plugs one in, as one edit: an end that
// is moved, or a cable that takes the place of another. It is one step of undo.
type Repatch struct {
	From string   `json:"from"`
	To   string   `json:"to"`
	Pull []string `json:"pull"` // inputs, each of which holds a cable
}

// Add puts a module into the rack.
type Add struct {
	Kind string `json:"kind"`
	Name string `json:"name,omitempty"` // empty: one that is free
	Row  int    `json:"row"`
	HP   int    `json:"hp"`
}

// Named is what a request is about.
type Named struct {
	Name string `json:"name"`
}

// Scope is what a page wants to see of a scope.
type Scope struct {
	Name string `json:"name"`
	// Points is how many columns the page has room for; 0 is all that there are.
	Points int `json:"points,omitempty"`
}

// Trace is the picture of a scope: for each column the lowest and the highest
// volts, one after the other. What is nil has no cable.
type Trace struct {
	A []float32 `json:"a"`
	B []float32 `json:"b"`
}

// YAML is a module's text.
type YAML struct {
	ID   string  `json:"id"`
	Text *string `json:"text,omitempty"`
}

// Diff is an edit that is not made yet.
type Diff struct {
	Plug    *Cable   `json:"plug,omitempty"`
	Pull    *Pull    `json:"pull,omitempty"`
	Repatch *Repatch `json:"repatch,omitempty"`
	Remove  *Named   `json:"remove,omitempty"`
	YAML    *YAML    `json:"yaml,omitempty"`
	Scene   *Named   `json:"scene,omitempty"`
}

// asked is one text message of a page.
type asked struct {
	// ID is repeated in the reply; 0 wants none but an error.
	ID int64 `json:"id"`
	Request
	// Listen starts or ends the sound for this page.
	Listen *bool `json:"listen,omitempty"`
}

// reply answers a request.
type reply struct {
	ID     int64  `json:"id"`
	Error  string `json:"error,omitempty"`
	Result any    `json:"result,omitempty"`
}

// hello is the first message to a page.
type hello struct {
	Version string `json:"version"`
	Client  string `json:"client"`
}

// told is one text message to a page: exactly one field is set.
type told struct {
	Hello  *hello          `json:"hello,omitempty"`
	State  *State          `json:"state,omitempty"`
	Set    [][3]any        `json:"set,omitempty"` // address, value or word, source
	Event  []Event         `json:"event,omitempty"`
	Status json.RawMessage `json:"status,omitempty"`
	Slots  json.RawMessage `json:"slots,omitempty"`
	Reply  *reply          `json:"reply,omitempty"`
}

// Binary messages begin with one byte.
const (
	binaryMeters = 1 // then 3 bytes of nothing, the frame as float64, 2 peaks and the outputs' volts as float32
	binarySound  = 2 // then 3 bytes of nothing, the frame as float64, stereo as int16; all little-endian
)
