package main

import (
	"fmt"
	"testing"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// TestSettingListKeepsWhatWasNeverSent: only what the neighbour has had may be
// forgotten, and only the newest value of each setting counts.
func TestSettingListKeepsWhatWasNeverSent(t *testing.T) {
	var l settingList
	set := func(i int, value string) {
		l.set(mapping.Setting{Object: mapping.Object{Kind: mapping.KindPod, Name: fmt.Sprint(i)}, Name: mapping.SetCPU, Value: value})
	}
	const many = 2 * keptSettings
	for i := range many {
		set(i, "1")
	}
	set(7, "2")
	sent := l.take()
	if len(sent) != many || sent[many-1].Object.Name != "7" || sent[many-1].Value != "2" {
		t.Errorf("%d settings of %d were sent, the last %+v", len(sent), many, sent[len(sent)-1])
	}
	if again := l.take(); len(again) != 0 {
		t.Errorf("%d settings were sent twice", len(again))
	}
	set(many, "1")
	if len(l.values) != keptSettings {
		t.Errorf("%d settings are kept, want %d", len(l.values), keptSettings)
	}
	if next := l.take(); len(next) != 1 || next[0].Object.Name != fmt.Sprint(many) {
		t.Errorf("then %v is sent", next)
	}
	// After a start of the neighbour all of them are.
	l.sent = 0
	if all := l.take(); len(all) != keptSettings {
		t.Errorf("%d settings are sent after a start", len(all))
	}
}
