package mapping

import (
	"fmt"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// Address names one param or jack of a patch as /kind/name/member, such as
// /deployment/web/replicas. It is what every surface calls it.
type Address string

// AddressOf returns the address of a module's param or jack.
func AddressOf(id instrument.ModuleID, member string) Address {
	return Address("/" + string(id) + "/" + member)
}

// Split returns the module and the member that the address names.
func (a Address) Split() (instrument.ModuleID, string, error) {
	s, ok := strings.CutPrefix(string(a), "/")
	i := strings.LastIndexByte(s, '/')
	if !ok || strings.Count(s, "/") != 2 || i == len(s)-1 {
		return "", "", fmt.Errorf("%q is not an address; expected /kind/name/param, such as /deployment/web/replicas", string(a))
	}
	return instrument.ModuleID(s[:i]), s[i+1:], nil
}

// MemberKind says what an address leads to.
type MemberKind uint8

const (
	MemberParam  MemberKind = iota // a knob or switch: read and write
	MemberText                     // a word: read and write
	MemberInput                    // an input jack: its volts while nothing is plugged in
	MemberOutput                   // an output jack: read only
)

// Member is one addressable thing of a patch.
type Member struct {
	Address Address
	Kind    MemberKind
	Doc     string
	Param   *instrument.ParamSpec // of a param
	Jack    *instrument.JackSpec  // of a jack

	module instrument.ModuleID
	index  int
	meter  int // of an output, among the engine's meters
}

// Members returns everything addressable in a patch, in the order of its
// modules: params, then inputs, then outputs.
func Members(p *instrument.Patch) (ms []Member) {
	meter := 0
	for i := range p.Modules {
		m := &p.Modules[i]
		s := m.Spec()
		if s == nil {
			continue
		}
		for k := range s.Params {
			ps := &s.Params[k]
			kind := MemberParam
			if ps.Text {
				kind = MemberText
			}
			ms = append(ms, Member{Address: AddressOf(m.ID, ps.Name), Kind: kind, Doc: ps.Doc, Param: ps, module: m.ID, index: k})
		}
		for k := range s.Inputs {
			js := &s.Inputs[k]
			ms = append(ms, Member{Address: AddressOf(m.ID, js.Name), Kind: MemberInput, Doc: js.Doc, Jack: js, module: m.ID, index: k})
		}
		for k := range s.Outputs {
			js := &s.Outputs[k]
			ms = append(ms, Member{Address: AddressOf(m.ID, js.Name), Kind: MemberOutput, Doc: js.Doc, Jack: js, module: m.ID, index: k, meter: meter})
			meter++
		}
	}
	return ms
}
