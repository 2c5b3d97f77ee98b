package kube

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	// writtenAnnotation holds the hash of the text that we wrote, so that an
	// edit made while no instrument ran is found at the next start;
	// writtenTextAnnotation holds that text, compressed, so that what was
	// edited is known too.
	writtenAnnotation     = "k8s-synth.io/written"
	writtenTextAnnotation = "k8s-synth.io/written-text"
	// rejectedName is the ConfigMap that keeps an edit that could not be read,
	// once the patch has gone on.
	rejectedName = "topology-rejected"
	// editPatience is how long the instrument may take to take an edit over.
	// Until then what it publishes is taken for older than the edit.
	editPatience = 2 * time.Second
	// maxText bounds what is read back from an annotation; all annotations of
	// an object together have at most 256 KiB, compressed.
	maxText = 8 << 20
)

// edit is a valid topology of another hand that the instrument has not taken
// over yet. A place leaves it once the instrument has the edit's value there,
// or has turned it since.
type edit struct {
	by           string
	base, theirs flat
	// ours is what the instrument wanted when the edit arrived: what differs
	// from it was turned later than the edit. Nil: it had not said yet.
	ours  flat
	until time.Time
	told  map[string]bool
}

// newEdit notes an edit that arrived while another one may be waiting.
func newEdit(waiting *edit, by string, base, theirs mapping.Topology, wanted *mapping.Topology, until time.Time) *edit {
	e := &edit{by: by, base: flatten(base), theirs: flatten(theirs), until: until, told: map[string]bool{}}
	if wanted != nil {
		e.ours = flatten(*wanted)
	}
	if waiting != nil {
		// What the second edit left alone is still to be taken over as the
		// first one has it.
		second := map[string]bool{}
		for _, place := range e.base.changed(e.theirs) {
			second[place] = true
		}
		for _, place := range waiting.base.changed(waiting.theirs) {
			e.base.set(place, waiting.base)
			if !second[place] && e.ours != nil && waiting.ours != nil {
				e.ours.set(place, waiting.ours)
			}
		}
	}
	return e
}

// apply merges the edit into a topology of the instrument's. It returns what
// was overruled and has not been told.
func (e *edit) apply(t mapping.Topology) (mapping.Topology, []Conflict) {
	ours := flatten(t)
	if e.ours == nil {
		e.ours = flatten(t)
	}
	same := func(a, b flat, place string) bool {
		v, in := a[place]
		w, also := b[place]
		return in == also && v == w
	}
	for _, place := range e.base.changed(e.theirs) {
		if same(ours, e.theirs, place) {
			e.base.set(place, e.theirs)
		}
	}
	merged, all := merge(e.base, e.theirs, ours, func(place string) bool { return !same(ours, e.ours, place) })
	var conflicts []Conflict
	for _, c := range all {
		if key := fmt.Sprint(c.Place, c.OursWon); !e.told[key] {
			e.told[key] = true
			conflicts = append(conflicts, c)
		}
	}
	// Where the instrument's hand has won, the edit is over.
	for _, place := range e.base.changed(e.theirs) {
		if !same(ours, e.ours, place) {
			e.base.set(place, e.theirs)
		}
	}
	return merged.topology(t), conflicts
}

// waiting returns the places that the instrument has not taken over.
func (e *edit) waiting() []string { return e.base.changed(e.theirs) }

// rejection is a text in the topology's ConfigMap that is no topology.
type rejection struct {
	text, hash, by string
	err            error
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// pack and unpack are the form of a text in an annotation.
func pack(text string) (string, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

func unpack(s string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return "", err
	}
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(r, maxText+1))
	if err == nil && len(text) > maxText {
		err = errors.New("too long")
	}
	return string(text), err
}

// lastWritten reads what we wrote last from a ConfigMap that another hand
// changed. Where that cannot be told, it is nothing: all that stands there
// counts as edited then.
func lastWritten(cm *corev1.ConfigMap) mapping.Topology {
	var t mapping.Topology
	text, err := unpack(cm.Annotations[writtenTextAnnotation])
	if err != nil || hashOf(text) != cm.Annotations[writtenAnnotation] || yaml.Unmarshal([]byte(text), &t) != nil {
		return mapping.Topology{}
	}
	return t
}

// hand names who wrote the text of a ConfigMap: the newest field manager
// besides us that owns it.
func hand(cm *corev1.ConfigMap) string {
	by, field := "another hand", `"f:`+eno.ConfigMapKey+`"`
	var at time.Time
	for _, m := range cm.ManagedFields {
		if m.Manager == FieldManager || m.FieldsV1 == nil || !strings.Contains(m.FieldsV1.GetRawString(), field) {
			continue
		}
		if m.Time == nil || !m.Time.Time.Before(at) {
			by = m.Manager
			if m.Time != nil {
				at = m.Time.Time
			}
		}
	}
	return by
}

// readTopology reads and checks what stands in the ConfigMap. An error names
// the line and column of each fault.
func readTopology(cm *corev1.ConfigMap, namespace string) (mapping.Topology, error) {
	t, err := eno.Load(cm)
	if err == nil && t.Namespace != namespace {
		err = fmt.Errorf("%w: namespace: %q, but the instrument plays in %q", eno.ErrInvalidTopology, t.Namespace, namespace)
	}
	return t, err
}

// placeNames names at most a few places, for a sentence.
func placeNames(all []string) string {
	const most = 6
	short := make([]string, 0, most)
	for i, p := range all {
		if i == most {
			return strings.Join(short, ", ") + fmt.Sprintf(" and %d more", len(all)-most)
		}
		short = append(short, strings.TrimPrefix(strings.TrimPrefix(p, modulePlace), cablePlace))
	}
	return strings.Join(short, ", ")
}
