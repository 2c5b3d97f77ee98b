//go:build linux

package alsa

import (
	"bytes"
	"os"
	"testing"
	"unsafe"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

func TestSizesAreTheKernels(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("the numbers are of 64 bits")
	}
	for _, c := range [][2]uintptr{
		{ioGetClientInfo, 0xc0bc5310}, {ioSetClientInfo, 0x40bc5311}, {ioCreatePort, 0xc0a85320}, {ioDeletePort, 0x40a85321},
		{ioSubscribe, 0x40505330}, {ioCreateQueue, 0xc08c5332}, {ioQueueStatus, 0xc05c5340}, {ioGetClientPool, 0xc058534b},
		{ioQuerySubs, 0xc058534f}, {ioGetSubscription, 0xc0505350}, {ioNextClient, 0xc0bc5351}, {ioNextPort, 0xc0a85352}, {ioClientID, 0x80045301},
	} {
		if c[0] != c[1] {
			t.Errorf("%#x instead of %#x", c[0], c[1])
		}
	}
}

var messages = []midi.Message{
	midi.On(0, 60, 100), midi.Off(15, 127, 64), midi.KeyPressure(3, 4, 5), midi.CC(7, 64, 127), midi.Program(2, 99),
	midi.Pressure(1, 127), midi.BendTo(9, -8192), midi.BendTo(9, 8191), midi.BendTo(9, 0), midi.Position(16383),
	{Data: [3]byte{midi.SongSelect, 5}, Size: 2}, {Data: [3]byte{midi.QuarterFrame, 0x71}, Size: 2},
	midi.RealTime(midi.TuneRequest), midi.RealTime(midi.Clock), midi.RealTime(midi.Start), midi.RealTime(midi.Continue),
	midi.RealTime(midi.Stop), midi.RealTime(midi.ActiveSensing), midi.RealTime(midi.SystemReset),
}

func TestEventsAndBack(t *testing.T) {
	var all []byte
	for _, m := range messages {
		b, ok := encode(nil, 3, m)
		if !ok || len(b) != eventSize {
			t.Fatalf("%v is %x", m, b)
		}
		all = append(all, b...)
	}
	part := bytes.Repeat([]byte{0xf0}, 57)
	all = append(exclusive(all, 3, part), make([]byte, 84-57)...) // as the kernel pads
	for _, m := range messages {
		e, rest, ok := next(all)
		if !ok {
			t.Fatal("it ends early")
		}
		if got := decode(nil, e); !bytes.Equal(got, m.Bytes(nil)) {
			t.Errorf("%v comes back as %x", m, got)
		}
		all = rest
	}
	e, rest, ok := next(all)
	if !ok || len(rest) != 0 || !bytes.Equal(decode(nil, e), part) {
		t.Errorf("an exclusive part comes back as %x, leaving %x", decode(nil, e), rest)
	}
}

func TestWideEvents(t *testing.T) {
	for _, c := range []struct {
		kind         byte
		param, value uint32
		want         string
	}{
		{evControl14, 1, 0x1234, "\xb2\x01\x24\xb2\x21\x34"},
		{evNRPN, 0x0123, 0x1234, "\xb2\x63\x02\xb2\x62\x23\xb2\x06\x24\xb2\x26\x34"},
		{evRPN, 0, 0x0100, "\xb2\x65\x00\xb2\x64\x00\xb2\x06\x02\xb2\x26\x00"},
	} {
		h := make([]byte, eventSize)
		h[0], h[16] = c.kind, 2
		native.PutUint32(h[20:], c.param)
		native.PutUint32(h[24:], c.value)
		if got := decode(nil, event{head: h}); string(got) != c.want {
			t.Errorf("event %d is % x, not % x", c.kind, got, c.want)
		}
	}
}

func FuzzNext(f *testing.F) {
	b, _ := encode(nil, 0, messages[0])
	f.Add(exclusive(b, 0, []byte{0xf0, 1, 0xf7}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			e, rest, ok := next(b)
			if !ok {
				return
			}
			if len(rest) >= len(b) {
				t.Fatal("it does not go on")
			}
			_ = decode(nil, e)
			b = rest
		}
	})
}

func TestEncodingAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		for _, m := range messages {
			b, _ := encode(buf[:0], 1, m)
			e, _, _ := next(b)
			decode(buf[512:512], e)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRoom(t *testing.T) {
	const text = "Test Keys\n\nOutput 0\n  Tx bytes     : 17196\nOutput 1\n  Tx bytes     : 1\n  Owner PID    : 123\n  Mode         : native\n" +
		"  Buffer size  : 4096\n  Avail        : 4000\nInput 0\n  Avail        : 7\n"
	if n, ok := waiting(text, 1); n != 96 || !ok {
		t.Errorf("%d %v", n, ok)
	}
	for _, sub := range []int{0, 2} {
		if n, ok := waiting(text, sub); ok {
			t.Errorf("a port that is not open has %d waiting", n)
		}
	}
	if r := roomOf(other{addr: addr{25, 2}, card: 2}); r.path != "/proc/asound/card2/midi1" || r.sub != 2 {
		t.Errorf("%+v", r)
	}
	if r := roomOf(other{addr: addr{129, 0}, card: 2}); r.path != "" || !r.take(1<<20) {
		t.Errorf("%+v", r)
	}
	path := t.TempDir() + "/midi0"
	if err := os.WriteFile(path, []byte("Output 0\n  Buffer size : 4096\n  Avail : 3806\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := room{path: path}
	for i := range 12 {
		if got := r.take(eventSize); got != true && i < 10 {
			t.Errorf("no room after %d", i)
		}
	}
	if err := os.WriteFile(path, []byte("Output 0\n  Buffer size : 4096\n  Avail : 3776\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.left = 0
	if r.take(eventSize) {
		t.Error("room where there is none")
	}
}
