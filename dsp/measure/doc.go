// Package measure analyses finished sound: spectra, pitch, roughness,
// loudness, distortion, aliasing, onsets and clicks. It stands beside the
// signal path, not in it: tests and reports use it, never the audio thread.
//
// Samples are in whatever unit the caller has; levels in decibels are relative
// to 1 of that unit, so that for samples at full scale 1 they are dBFS. Only
// loudness and true peak prescribe the scale: there, 1 is full scale. Nothing
// is returned as NaN: levels of silence are negative infinity.
package measure
