package hardware

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

const surroundOrder = "front-left,front-right,rear-left,rear-right,front-center,lfe,side-left,side-right"

const auxOrder = "aux0,aux1,aux2,aux3,aux4,aux5,aux6,aux7"

const pulseOrder = "front-left,front-left-of-center,front-center,front-right,front-right-of-center,rear-center,aux0,aux1"

// boundaries are words at which a conversion goes wrong first.
var boundaries = []int32{0, 1, -1, 2, -2, 0x7fffff, 0x7ffffe, -0x800000, -0x7fffff, 0x400000, 0x3fffff, -0x400000, -0x400001, 0x555555, -0x555556, 0x00ff00, 0x0000ff, -0x010000, 0x7f0000, 0x010101}

// scatter is a word for each frame and channel that looks like chance, with a boundary in every seventh.
func scatter(frame int64, channel int) int32 {
	if frame%7 == 3 {
		return boundaries[(frame/7+int64(channel))%int64(len(boundaries))]
	}
	x := uint64(frame)*0x9e3779b97f4a7c15 + uint64(channel)*0xbf58476d1ce4e5b9 + 1
	x ^= x >> 31
	x *= 0x94d049bb133111eb
	x ^= x >> 29
	return int32(x>>40) << 8 >> 8
}

// exactRun is the longest run of captured frames that are consecutive frames of a pattern, on every
// channel and to the bit; foreign is how many are no frame of it at all, nor silence, nor the one before
// them once more: what was changed on the way, rather than lost or late. played is how many frames of the
// pattern there can be.
func exactRun(t *testing.T, frames [][]int32, played int64, word func(int64, int) int32) (best, foreign int) {
	t.Helper()
	tell := func(i int) {
		if foreign++; foreign <= 3 {
			t.Logf("captured frame %d of %d was changed: %x, after %x, before %x", i, len(frames), frames[i], frames[max(i-1, 0)], frames[min(i+1, len(frames)-1)])
		}
	}
	at := map[[2]int32]int64{}
	for f := range played {
		at[[2]int32{word(f, 0), word(f, 1)}] = f
	}
	run, next := 0, int64(0)
	for i, f := range frames {
		if run == 0 || f[0] != word(next, 0) {
			run = 0
			k, ok := at[[2]int32{f[0], f[1]}]
			if !ok {
				if !slices.Equal(f, silence[:len(f)]) && (i == 0 || !slices.Equal(f, frames[i-1])) {
					tell(i)
				}
				continue
			}
			next = k
		}
		for c := range f {
			if f[c] != word(next, c) {
				run = -1
				// Silence may begin where the first channel is 0 by itself.
				if slices.Equal(f, silence[:len(f)]) || torn(f[c:], next-tear, c, word) {
					break
				}
				tell(i)
				break
			}
		}
		run++
		next++
		best = max(best, run)
	}
	return best, foreign
}

// tear is the buffer of the loopback card in frames. Where that passes a writer that is late, it hands
// over a frame whose first channels are new, and the others those of one buffer ago: late, not changed.
const tear = 1024

func torn(rest []int32, frame int64, from int, word func(int64, int) int32) bool {
	for c, w := range rest {
		if frame < 0 || w != word(frame, from+c) {
			return false
		}
	}
	return from > 0
}

var silence [MaxChannels]int32

// toWords is what floats say of words of 24 bits; what is none becomes one that is never played.
func toWords(frames [][]float32) [][]int32 {
	out := make([][]int32, len(frames))
	for i, f := range frames {
		out[i] = make([]int32, len(f))
		for c, v := range f {
			w := v * (1 << 23)
			if out[i][c] = int32(w); w != float32(int32(w)) {
				out[i][c] = -1 << 31
			}
		}
	}
	return out
}

// justified is words without the eight bits below them, which must be empty.
func justified(frames [][]int32) [][]int32 {
	for _, f := range frames {
		for c, w := range f {
			if f[c] = w >> 8; w&0xff != 0 {
				f[c] = -1 << 31
			}
		}
	}
	return frames
}

// unpack is what was captured in one of ALSA's formats, as words.
func (c *listener) unpack(format string) [][]int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	width := 4
	if format == "S24_3LE" {
		width = 3
	}
	out := make([][]int32, len(c.buf)/width/c.channels)
	for i := range out {
		out[i] = make([]int32, c.channels)
		for k := range out[i] {
			b := c.buf[width*(i*c.channels+k):]
			switch {
			case format == "S32_LE" && b[0] != 0:
				out[i][k] = -1 << 31 // something below the word
			case format == "S32_LE":
				out[i][k] = int32(uint32(b[1])<<8|uint32(b[2])<<16|uint32(b[3])<<24) >> 8
			default:
				out[i][k] = int32(uint32(b[0])<<8|uint32(b[1])<<16|uint32(b[2])<<24) >> 8
			}
		}
	}
	return out
}

// scatterer renders scatter as floats, and keeps what is captured.
type scatterer struct {
	frame int64
	mu    sync.Mutex
	heard [][]float32
}

func (s *scatterer) Render(out, in [][]float32) {
	for c := range out {
		for i := range out[c] {
			out[c][i] = float32(scatter(s.frame+int64(i), c)) / (1 << 23)
		}
	}
	s.frame += BlockFrames
	s.keep(in)
}

func (s *scatterer) keep(in [][]float32) {
	if len(in) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range in[0] {
		f := make([]float32, len(in))
		for c := range in {
			f[c] = in[c][i]
		}
		s.heard = append(s.heard, f)
	}
}

func (s *scatterer) forget() {
	s.mu.Lock()
	s.heard = nil
	s.mu.Unlock()
}

func (s *scatterer) words() [][]int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return toWords(s.heard)
}

// recordFloats has another client of the JACK server record two seconds of our outputs, as floats:
// jack_rec's integers are scaled by one step less than full scale.
func recordFloats(t *testing.T, channels int) [][]float32 {
	t.Helper()
	need(t, "jack_capture")
	file := filepath.Join(t.TempDir(), "jack.wav")
	args := []string{"-b", "FLOAT", "-c", fmt.Sprint(channels), "-d", "2", "-dc", "-hbu", "-fn", file}
	for i := range channels {
		args = append(args, "-p", fmt.Sprintf("k8s-synth:playback%d", i))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "jack_capture", args...).CombinedOutput(); err != nil {
		t.Fatalf("jack_capture: %v\n%s", err, out)
	}
	w, err := ReadWAV(file)
	if err != nil {
		t.Fatal(err)
	}
	frames := make([][]float32, w.Frames())
	for i := range frames {
		frames[i] = make([]float32, len(w.Channels))
		for c := range w.Channels {
			frames[i][c] = w.Channels[c][i]
		}
	}
	return frames
}

type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(b)
}

func (l *logBuffer) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.String()
}

// What every backend does to samples, as a table. Each row plays eight channels of words that look like
// chance, among them those at which conversions go wrong, and compares what arrives bit by bit.
func TestBitExactPaths(t *testing.T) {
	var table bytes.Buffer
	tw := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "path\tplayed as\tcaptured by\tlongest exact run\tof frames\tchanged\tdevice says\t")
	row := func(path, as, by string, run, of, changed int, says string) {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t\n", path, as, by, run, of, changed, says)
	}
	const want = 4000
	const played = 600_000
	cv := Channels(0, 1, 2, 3, 4, 5, 6, 7)
	floats := Settings{Channels: 8, Capture: 8, CV: cv, CVFullScale: 1}
	open := func(t *testing.T, s Settings, r Renderer) (*Device, *logBuffer) {
		t.Helper()
		var said logBuffer
		s.Logger = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn}))
		d, err := Open(context.Background(), s, r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		if err := d.Start(); err != nil {
			t.Fatal(err)
		}
		if d.Stats().Lost {
			t.Fatalf("did not open: %s", said.text())
		}
		return d, &said
	}
	verdict := func(said *logBuffer) string {
		if strings.Contains(said.text(), "does not pass") {
			return "warns"
		}
		return "nothing"
	}
	t.Run("jack", func(t *testing.T) {
		startJACK(t, 128)
		s := floats
		s.Backend, s.Period, s.Depth = "jack", 128, 16
		r := &scatterer{}
		_, said := open(t, s, r)
		frames := toWords(recordFloats(t, 8))
		a, ca := exactRun(t, frames, played, scatter)
		row("JACK", "float", "another client", a, len(frames), ca, verdict(said))
		patchJACK(t, 8)
		time.Sleep(100 * time.Millisecond)
		r.forget() // what was heard while only some of the cables were plugged in
		time.Sleep(700 * time.Millisecond)
		heard := r.words()
		b, cb := exactRun(t, heard, played, scatter)
		row("JACK", "float", "this device, by a cable", b, len(heard), cb, verdict(said))
		if a < want || b < want || ca+cb > 0 {
			t.Errorf("%d and %d exact frames, %d and %d changed", a, b, ca, cb)
		}
		c := &wordCase{channels: 8, exact: cv, word: scatter}
		_, err := Open(context.Background(), Settings{Backend: "jack", Converter: c, Logger: quiet()}, &ramp{})
		if !errors.Is(err, ErrInexact) {
			t.Errorf("words were not refused: %v", err)
		}
		row("JACK", "words", "–", 0, 0, 0, "refuses")
	})
	t.Run("pulse", func(t *testing.T) {
		startPulse(t)
		for _, sink := range []struct{ name, order string }{{"cv8", pulseOrder}, {"aux8", auxOrder}, {"odd8", "aux1,aux0,aux2,aux3,aux4,aux5,aux6,aux7"}} {
			s := floats
			s.Backend, s.Device, s.Period, s.Depth = "pulse", sink.name, 256, 16
			r := &scatterer{}
			d, said := open(t, s, r)
			c := startCapture(t, 8, "parec", "-d", sink.name+".monitor", "--format=float32le", "--channels=8", "--rate=48000", "--channel-map="+sink.order)
			time.Sleep(time.Second)
			c.stop()
			heard := r.words() // before the end, which fades
			d.Close()
			frames := toWords(c.frames())
			a, ca := exactRun(t, frames, played, scatter)
			b, cb := exactRun(t, heard, played, scatter)
			row("PulseAudio, sink "+sink.name, "float", "parec", a, len(frames), ca, verdict(said))
			row("PulseAudio, sink "+sink.name, "float", "this device, from the monitor", b, len(heard), cb, verdict(said))
			if exact, warned := sink.name != "odd8", strings.Contains(said.text(), "reorders or mixes"); exact && (a < want || b < want || ca+cb > 0 || warned) || !exact && (a > 8 || !warned) {
				t.Errorf("%s: %d and %d exact frames, %d and %d changed; the log has: %s", sink.name, a, b, ca, cb, said.text())
			}
		}
		for sink, order := range map[string]string{"words8": pulseOrder, "surround8": surroundOrder, "cv8": "", "odd8": ""} {
			c := &wordCase{channels: 8, exact: cv, word: scatter}
			s := Settings{Backend: "pulse", Device: sink, Period: 256, Depth: 16, Converter: c}
			if order == "" {
				s.Logger = quiet()
				_, err := Open(context.Background(), s, &ramp{})
				if !errors.Is(err, ErrInexact) {
					t.Errorf("%s: words were not refused: %v", sink, err)
				}
				t.Log(err)
				row("PulseAudio, sink "+sink, "words", "–", 0, 0, 0, "refuses")
				continue
			}
			d, said := open(t, s, &ramp{})
			l := startCapture(t, 8, "parec", "-d", sink+".monitor", "--format=s32le", "--channels=8", "--rate=48000", "--channel-map="+order)
			time.Sleep(time.Second)
			l.stop()
			d.Close()
			frames := justified(l.words())
			a, ca := exactRun(t, frames, played, scatter)
			row("PulseAudio, sink "+sink+" (s32)", "words", "parec, s32", a, len(frames), ca, verdict(said))
			if a < want || ca > 0 {
				t.Errorf("%d exact frames of words, %d changed", a, ca)
			}
		}
	})
	t.Run("alsa", func(t *testing.T) {
		need(t, "arecord")
		if _, err := os.Stat("/proc/asound/Loopback"); err != nil {
			t.Skip("there is no ALSA loopback card here (modprobe snd-aloop); TestProofALSAGuest boots a kernel that has one")
		}
		s := floats
		s.Backend, s.Device, s.CaptureDevice, s.Period, s.Periods, s.Depth = "alsa", "hw:Loopback,0", "hw:Loopback,1", 256, 4, 32
		r := &scatterer{}
		d, said := open(t, s, r)
		time.Sleep(3 * time.Second)
		format := d.Stats().Format
		d.Close()
		heard := r.words()
		a, ca := exactRun(t, heard, played, scatter)
		row("ALSA loopback ("+format+")", "float", "this device", a, len(heard), ca, verdict(said))
		// Who captures first says which format the loopback has.
		for _, f := range []struct{ alsa, ours string }{{"S32_LE", "s32"}, {"S24_LE", "s24"}, {"S24_3LE", "s24_3"}} {
			l := startCapture(t, 8, "arecord", "-q", "-D", "hw:Loopback,1", "-f", f.alsa, "-c", "8", "-r", "48000", "-t", "raw", "--buffer-size=16384")
			time.Sleep(700 * time.Millisecond)
			c := &wordCase{channels: 8, exact: cv, word: scatter}
			d, said = open(t, Settings{Backend: "alsa", Device: "Loopback", Period: 256, Periods: 4, Depth: 32, Converter: c}, &ramp{})
			format = d.Stats().Format
			time.Sleep(4 * time.Second)
			l.stop()
			d.Close()
			frames := l.unpack(f.alsa)
			b, cb := exactRun(t, frames, played, scatter)
			row("ALSA loopback ("+format+")", "words", "arecord, "+f.alsa, b, len(frames), cb, verdict(said))
			if b < want || cb > 0 || format != f.ours {
				t.Errorf("%s: %d exact frames, %d changed, format %s", f.alsa, b, cb, format)
			}
		}
		if a < want || ca > 0 {
			t.Errorf("%d exact frames of floats, %d changed", a, ca)
		}
		l := startCapture(t, 8, "arecord", "-q", "-D", "hw:Loopback,1", "-f", "S16_LE", "-c", "8", "-r", "48000", "-t", "raw", "--buffer-size=16384")
		time.Sleep(700 * time.Millisecond)
		c := &wordCase{channels: 8, exact: cv, word: scatter}
		_, err := Open(context.Background(), Settings{Backend: "alsa", Device: "hw:Loopback,0", Converter: c, Logger: quiet()}, &ramp{})
		if !errors.Is(err, ErrInexact) {
			t.Errorf("words were not refused in 16 bits: %v", err)
		}
		l.stop()
		row("ALSA loopback (s16)", "words", "–", 0, 0, 0, "refuses")
	})
	tw.Flush()
	t.Logf("\n%s", table.String())
	if file := os.Getenv("K8S_SYNTH_TEST_TABLE"); file != "" {
		_ = os.WriteFile(filepath.Clean(file), table.Bytes(), 0o644)
	}
}

// A sink at another volume passes nothing on as it is.
func TestPulseAudioVolumeIsSeen(t *testing.T) {
	startPulse(t)
	if out, err := exec.Command("pactl", "set-sink-volume", "words8", "70%").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	c := &wordCase{channels: 8, exact: Channels(0), word: scatter}
	_, err := Open(context.Background(), Settings{Backend: "pulse", Device: "words8", Converter: c, Logger: quiet()}, &ramp{})
	if !errors.Is(err, ErrInexact) || !strings.Contains(err.Error(), "volume") {
		t.Error(err)
	}
}
