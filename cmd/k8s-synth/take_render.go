package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// takeTail is how long, in seconds, a take that does not say when it ends
// sounds after its last line.
const takeTail = 4

// speakers is how many of the engine's channels are for ears: those before the
// first jack of a rig.
func speakers(h *scenes.TakeHead) int {
	n := h.Channels
	if h.Sockets != nil {
		for _, at := range h.Sockets.Outputs {
			n = min(n, at)
		}
	}
	return max(n, 1)
}

// renderTake renders a take to a file beside the one that was named, which it
// replaces at the end only.
func renderTake(ctx context.Context, o renderOptions) (err error) {
	if err := notItself(o.take, o.out); err != nil {
		return fmt.Errorf("render: %w", err)
	}
	t, err := scenes.OpenTake(o.take)
	if err != nil {
		return err
	}
	defer t.Close()
	var scene *scenes.Scene
	if o.scene != "" {
		if scene, err = openStore().Open(o.scene); err != nil {
			return err
		}
	}
	if o.seeded {
		if scene == nil {
			if scene, err = sceneOfTake(t); err != nil {
				return err
			}
		}
		scene.Seed = o.seed
	}
	src, err := takeSourceOf(t, scene, o.rate, takeHow{anew: o.anew, deaf: !o.inputs}, nil, takeTail)
	if err != nil {
		return fmt.Errorf("render: %w", err)
	}
	defer src.close()
	channels := min(speakers(&t.Head), src.channel)
	from, to := src.frames(o.from.Duration.Seconds()), src.frames(o.to.Duration.Seconds())
	if o.seconds > 0 {
		to = from + src.frames(o.seconds)
	}
	if total, ok := scenes.TakeFrames(o.take); ok && o.from.Duration > 0 && o.from.Duration.Seconds() >= float64(total)/float64(t.Head.Rate) {
		return fmt.Errorf("render: --from %s is behind the end of the take, which is %s long", o.from.Duration, clock(float64(total)/float64(t.Head.Rate)))
	}
	out, err := newOutput(o.out, 0o666)
	if err != nil {
		return fmt.Errorf("render: %w", err)
	}
	defer func() { err = errors.Join(err, out.drop()) }()
	w, err := createSound(o.out, out.part, src.rate, channels)
	if err != nil {
		return fmt.Errorf("render: %w", err)
	}
	peak := 0.0
	began := time.Now()
	frames, err := pourFrom(ctx, src, o.take, from, to, func(block [][]float32) error {
		for _, ch := range block[:channels] {
			for _, v := range ch {
				peak = max(peak, math.Abs(float64(v)))
			}
		}
		return w.WritePlanar(block[:channels], instrument.AudioVolts)
	})
	if e := w.Close(); err == nil {
		err = e // of a write that failed it would say the same
	}
	if err == nil && frames == 0 && from > 0 {
		err = fmt.Errorf("the take has no frame after %s", o.from.Duration)
	}
	if err == nil {
		err = out.keep(true)
	}
	if err != nil {
		return fmt.Errorf("render: %w", err)
	}
	seconds, took := float64(frames)/float64(src.rate), time.Since(began).Seconds()
	fmt.Fprintf(os.Stderr, "wrote %s: %.2f s of sound, %s, in %.2f s (%.0f times real time), peak %.1f dBFS\n",
		o.out, seconds, src.how(), took, (seconds+float64(from)/float64(src.rate))/took, 20*math.Log10(math.Max(peak/instrument.AudioVolts, 1e-9)))
	for _, remark := range src.remarks() {
		fmt.Fprintln(os.Stderr, remark)
	}
	return nil
}

// frames is how many frames seconds are.
func (s *takeSource) frames(seconds float64) int64 {
	return int64(math.Round(seconds * float64(s.rate)))
}

// pour renders a source to its end, or for so many seconds where that is above
// 0, and shows how far it is. File is where the take is, for that.
func pour(ctx context.Context, src *takeSource, file string, seconds float64, take func(block [][]float32) error) (frames int64, err error) {
	return pourFrom(ctx, src, file, 0, src.frames(seconds), take)
}

// pourFrom is pour from one frame to another, 0 for its end. What is before is
// rendered as well, so that what follows is as it was.
func pourFrom(ctx context.Context, src *takeSource, file string, from, to int64, take func(block [][]float32) error) (frames int64, err error) {
	out := make([][]float32, src.channel)
	for c := range out {
		out[c] = make([]float32, instrument.BlockSize)
	}
	if to == 0 {
		to = math.MaxInt64
	}
	total := to
	live := term.IsTerminal(int(os.Stderr.Fd()))
	if live && to == math.MaxInt64 {
		total, _ = scenes.TakeFrames(file)
	}
	block := make([][]float32, len(out))
	var told time.Time
	for at := int64(0); at < to; {
		if ctx.Err() != nil {
			return frames, fmt.Errorf("interrupted after %.1f s of sound; nothing was written", float64(at)/float64(src.rate))
		}
		n := min(to-at, instrument.BlockSize)
		for c := range out {
			block[c] = out[c][:n]
		}
		got, err := src.render(block)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return frames, err
		}
		skip := min(max(from-at, 0), int64(got))
		at += int64(got)
		if skip < int64(got) {
			for c := range out {
				block[c] = out[c][skip:got]
			}
			if err := take(block); err != nil {
				return frames, err
			}
			frames += int64(got) - skip
		}
		if live && time.Since(told) > 100*time.Millisecond {
			told = time.Now()
			if total > 0 {
				fmt.Fprintf(os.Stderr, "\r%3d %%", 100*at/total)
			} else {
				fmt.Fprintf(os.Stderr, "\r%.0f s", float64(at)/float64(src.rate))
			}
		}
	}
	if live {
		fmt.Fprint(os.Stderr, "\r        \r")
	}
	return frames, nil
}
