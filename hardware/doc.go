// Package hardware is where the instrument meets the world of electricity: the audio device, which
// carries sound to speakers and control voltages to a Eurorack case, and the recorder beside it.
// It stands at the end of the signal path, behind instrument.Engine, which it drives as a Renderer.
//
//	Renderer.Render ─▶ volts ─▶ Converter ─▶ ring in C memory ─▶ C callback ─▶ audio device
//	        ▲                           └───▶ recorder ─▶ WAVE file                    │
//	        └─────── volts ◀─ Converter ◀─ capture ring in C memory ◀─ C callback ◀────┘
//
// # Why it is built this way
//
// The device thread never enters Go. A callback that does waits for the scheduler, for tens of
// milliseconds when the heap is busy, and a device thread has one or two. So a render goroutine,
// locked to a thread with real-time priority, works ahead into a ring of samples in C memory, and a
// callback written in C drains it. The ring's depth (Settings.Depth) is how late the goroutine may
// be; it is constant latency, which is not heard, bought against gaps, which are.
//
// The device paces the renderer: a full ring puts the goroutine to sleep on a futex, a callback
// wakes it. There is no timer in the path, and no spinning.
//
// Real-time priority for the render goroutine is not enough. The garbage collector stops it now and
// then, and it goes on when an ordinary thread of this process has done its part, which on a busy
// machine waits its turn behind other programs: 40 to 100 ms were measured, more than any ring should
// hold. So every thread of the process is real-time while a device plays, at the lowest priority there
// is (see priority_linux.go). Neighbouring processes are not. Memory is touched beforehand, and locked
// where that is allowed.
//
// An empty ring is not filled with zeros. Control voltages hold their last value, since an
// oscillator that falls to 0 V is octaves off; audio fades out and back in within 3 ms. Both are counted.
//
// Channels are never mixed, reordered or resampled by this package, and the only place where volts
// become numbers between -1 and 1, and back, is the Converter in the render goroutine: a rig's, or without
// one Settings.FullScale for audio and Settings.CVFullScale for control voltages and gates.
//
// # What comes in
//
// Capture has a ring of its own, which the C callback fills by the frame's number and never waits for.
// For each block that it renders the goroutine takes one that was captured, a constant number of frames
// away: where one callback does both directions (JACK, a raw ALSA card), exactly the ring's depth. After
// an underrun as many captured frames are left out as the ring lacked, at the place where the gap comes
// back, so that the distance between a frame and its echo (Device.RoundTrip) is one number for the life
// of a stream. Where two callbacks run (PulseAudio, two cards), what is to spare is watched, and the
// distance mended and counted when it strays. Missing frames hold their last value.
//
// # Words
//
// Gate expanders take words of 24 bits in the place of samples. With any (Converter.Exact) the rings
// hold 32-bit integers, into which words go unchanged while floats are rounded and clipped; a backend that
// would convert, mix, resample or scale them is refused, with the reason (ErrInexact).
//
// # Never a bang
//
// Whatever happens to the renderer, the device thread knows what was heard last. It holds that for a
// quarter of a second; when nothing comes even then, gates fall and control voltages slew to 0 V in 50 ms,
// and they come back in a fade. Close, a panic of the renderer and Emergency have the Converter land in
// 50 ms; when it, or the render goroutine, is what failed, the device thread lands by itself. Before a
// device is closed, whatever for, its thread brings all outputs to 0 V: from where they rest, or from what
// is played by a device that is given up for its capture alone.
//
// On Linux the device thread also lands when the process ends of itself, be it by a panic in anybody's
// goroutine, a fatal error of Go's runtime or a fault or abort in C (crash_linux.go says how): gates fall,
// all else is at 0 V in 50 ms, and the process is kept for that, for 150 ms at most. Then it ends as it would
// have, with the same trace and the same exit code. A fault in the device's own thread, or in a thread of C
// that Go code has run on, os.Exit in a library, SIGKILL and the machine's end leave the outputs to the
// server or the driver.
//
// The music does not stop with the device. When callbacks cease for half a second the device is
// lost; the null device takes over from the moment the sound ended, so that clocks, sequences and a
// recording go on without a seam, and the device is opened again as soon as it is back. Every
// opening has its own ring, because a lost device may hang in its library for good and keep it.
//
// # Panic
//
// A panic does not wait until the ring has been played. Device.Panic counts in one word that the device
// thread looks at before each buffer; the renderer need not have heard of it yet. From that buffer on audio
// fades, in 1.3 to 3 ms, gates are low, also those in words, and other voltages stand. Frames are taken at
// their time as ever, so no clock skips and no ring has to fill again: what was queued passes in silence, up
// to the frame at which the renderer has obeyed (Settings.Panicked). From there on all is heard, voltages
// after a fade from where they stood. A panic that the renderer never obeys stays silent. A recording is of
// what was rendered, and has what nobody heard.
//
// # Use
//
//	d, err := hardware.Open(ctx, hardware.Settings{Period: 128}, engine)
//	err = d.Start()
//	err = d.Record("take.wav")
//	frame := d.FrameAt(arrival) + float64(d.Latency())   // stamp an event for a constant latency
//	err = d.Close()                                      // fades, gates fall, the file is completed
//
// WAVWriter and ReadWAV also serve the offline renderer, which calls Render in a loop and needs no Device.
//
// # Systems
//
// Linux is what the above describes: JACK and raw ALSA cards, which this package drives itself (miniaudio's
// duplex mode adds four periods of its own, converts samples, and spins when a card is pulled out),
// PulseAudio (or PipeWire through it) and ALSA's default device through miniaudio, all loaded at run time.
// DEVICES.md has what was measured. On macOS and Windows the callback is Go's and makes one C call, because their linkers
// cannot redirect the callback's installation; use a deeper ring there.
package hardware
