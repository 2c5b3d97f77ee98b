package kube

import (
	"cmp"
	"slices"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// rank orders kinds that changed at the same revision: causes before effects.
var rank = map[string]int{
	mapping.KindAPIServer:   0,
	mapping.KindEtcd:        1,
	mapping.KindNamespace:   2,
	mapping.KindNode:        3,
	mapping.KindComposition: 4,
	mapping.KindCronJob:     5,
	mapping.KindHPA:         6,
	mapping.KindDeployment:  7,
	mapping.KindJob:         8,
	mapping.KindPod:         9,
	mapping.KindService:     10,
	mapping.KindIngress:     11,
}

// Diff returns what changed from previous to next: objects in the order of
// their revisions, then of kind, name and UID; fields in the order in which
// their kind tells them. It is pure, and it can be taken piece by piece: the
// difference of two snapshots is that of their parts, because objects do not
// bear on each other. What belongs together, such as a Service and its
// EndpointSlices, is therefore joined into one object before it is here.
//
// An object that appeared has all its fields that are not empty, from "". One
// that is gone has only "exists", from "true" to "": its other fields are gone
// with it. All transitions are quiet where next is.
func Diff(previous, next Snapshot) []mapping.Transition {
	type change struct {
		key  Key
		was  Object
		is   Object
		at   Stamp
		name string
	}
	var changes []change
	for key, is := range next.Objects {
		was := previous.Objects[key]
		if was == is {
			continue
		}
		about, _, _ := is.about()
		changes = append(changes, change{key: key, was: was, is: is, at: is.seen(), name: about.Name})
	}
	for key, was := range previous.Objects {
		if _, still := next.Objects[key]; still {
			continue
		}
		at, ok := next.Gone[key]
		if !ok {
			at = next.Stamp
		}
		about, _, _ := was.about()
		changes = append(changes, change{key: key, was: was, at: at, name: about.Name})
	}
	slices.SortFunc(changes, func(a, b change) int {
		return cmp.Or(
			cmp.Compare(a.at.Revision, b.at.Revision),
			cmp.Compare(rank[a.key.Kind], rank[b.key.Kind]),
			cmp.Compare(a.name, b.name),
			cmp.Compare(a.key.UID, b.key.UID),
		)
	})
	var out []mapping.Transition
	for _, c := range changes {
		out = appendChange(out, c.was, c.is, stampOr(c.at, next.Stamp), next.Quiet)
	}
	return out
}

func stampOr(at, otherwise Stamp) Stamp {
	if at.Time.IsZero() {
		at.Time = otherwise.Time
	}
	return at
}

// appendChange appends the transitions of one object; was or is may be nil.
func appendChange(out []mapping.Transition, was, is Object, at Stamp, quiet bool) []mapping.Transition {
	one := is
	if one == nil {
		one = was
	}
	about, owner, replica := one.about()
	tell := func(field, before, after string) {
		out = append(out, mapping.Transition{
			Time: at.Time.Round(time.Microsecond), Revision: at.Revision,
			Object: about, Owner: owner, Replica: replica,
			Field: field, Old: before, New: after, Quiet: quiet,
		})
	}
	if is == nil {
		tell(mapping.FieldExists, "true", "")
		return out
	}
	var before []value
	if was != nil {
		before = was.values()
	}
	for i, v := range is.values() {
		old := ""
		if before != nil {
			old = before[i].text
		}
		if old != v.text {
			tell(v.field, old, v.text)
		}
	}
	return out
}
