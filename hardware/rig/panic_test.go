package rig

import "testing"

// Of the words of a gate expander the bits of gates fall in a panic; those of an ESX-8CV, whose values span
// frames, pass.
func TestGateBits(t *testing.T) {
	c := &Case{expand: []expansion{
		{Expander: &Expander{Frame: ES5, Channels: [2]int{6, 7}, Cards: [6]Card{1: CVs, 3: CVs}, Fitted: [6]bool{true, true, false, true, true, true}}},
		{Expander: &Expander{Frame: ES40, Channels: [2]int{2, 4}, Cards: [6]Card{0: CVs}, Fitted: [6]bool{true, true, true, false, true}}},
	}}
	for channel, want := range map[int]uint32{6: 0xff000000, 7: 0x00ffff00, 2: 0x00fff000, 4: 0xff00f000, 0: 0} {
		if got := uint32(c.GateBits(channel)); got != want {
			t.Errorf("channel %d: %08x, want %08x", channel, got, want)
		}
	}
}
