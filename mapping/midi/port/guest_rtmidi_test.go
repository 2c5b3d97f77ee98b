//go:build linux && cgo && !nomidi

package port_test

import "github.com/k8s-synth/k8s-synth/mapping/midi/port/rtmidi"

func init() { drivers["rtmidi"] = func() driver { return rtmidi.New("k8s-synth") } }
