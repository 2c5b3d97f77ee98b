// Package machine stands in for TinyGo's package of that name, as far as the
// firmware uses it, so that a Go compiler can check the firmware's types. The
// signatures are those of TinyGo 0.39 for the RP2040.
package machine

type Pin uint8

const (
	GPIO2 Pin = 2
	GPIO3 Pin = 3
	ADC0  Pin = 26
	ADC1  Pin = 27
)

type ADC struct{ Pin Pin }

type ADCConfig struct{ Reference, Resolution, Samples, SampleTime uint32 }

func InitADC()                          {}
func (a ADC) Configure(ADCConfig) error { return nil }
func (a ADC) Get() uint16               { return 0 }

type PWMConfig struct{ Period uint64 }

type pwmGroup struct{}

func (*pwmGroup) Configure(PWMConfig) error  { return nil }
func (*pwmGroup) Channel(Pin) (uint8, error) { return 0, nil }
func (*pwmGroup) Set(uint8, uint32)          {}
func (*pwmGroup) Top() uint32                { return 0 }

var PWM1, PWM2, PWM3 = &pwmGroup{}, &pwmGroup{}, &pwmGroup{}

type watchdog struct{}

type WatchdogConfig struct{ TimeoutMillis uint32 }

func (*watchdog) Configure(WatchdogConfig) error { return nil }
func (*watchdog) Start() error                   { return nil }
func (*watchdog) Update()                        {}

var Watchdog = &watchdog{}

func DeviceID() []byte        { return nil }
func GetRNG() (uint32, error) { return 0, nil }

// Serialer is a serial port.
type Serialer interface {
	WriteByte(c byte) error
	Write(data []byte) (n int, err error)
	Buffered() int
	ReadByte() (byte, error)
	DTR() bool
	RTS() bool
}

var Serial Serialer
