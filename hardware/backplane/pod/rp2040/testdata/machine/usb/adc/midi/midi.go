// Package midi stands in for TinyGo's machine/usb/adc/midi.
package midi

type midi struct{}

func Port() *midi                               { return &midi{} }
func (*midi) SetRxHandler(func([]byte))         {}
func (*midi) Write(b []byte) (n int, err error) { return len(b), nil }
