package dsp

// ResidualTable holds what makes a step, or a corner, of a waveform
// band-limited. Row r is for an event r/128 of a sample before the present
// one; column c is what to add to the sample c-OscillatorLatency later.
// Between two rows it is interpolated.
type ResidualTable = [blepPhases + 1][blepTaps]float32

// StepResidual is for a step of height 1. It is shared: only read it.
func StepResidual() *ResidualTable { return &blepTable }

// CornerResidual is for a change of slope of 1 per sample. It is shared: only
// read it.
func CornerResidual() *ResidualTable { return &blampTable }
