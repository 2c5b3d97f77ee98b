// Package hardware is where the instrument meets the world of electricity: the audio device, which
// carries sound to speakers and control voltages to a Eurorack case, and the recorder beside it.
// It stands at the end of the signal path, behind instrument.Engine, which it drives as a Renderer.
//
//	Renderer.Render ─▶ volts ÷ full scale ─▶ ring in C memory ─▶ C callback ─▶ audio device
//	                                   └───▶ recorder ─▶ WAVE file
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
// become numbers between -1 and 1 is the render goroutine: by Settings.FullScale for audio, by
// Settings.CVFullScale for control voltages and gates.
//
// The music does not stop with the device. When callbacks cease for half a second the device is
// lost; the null device takes over from the moment the sound ended, so that clocks, sequences and a
// recording go on without a seam, and the device is opened again as soon as it is back. Every
// opening has its own ring, because a lost device may hang in its library for good and keep it.
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
// Linux is what the above describes: PulseAudio (or PipeWire through it), ALSA and JACK, loaded at
// run time. On macOS and Windows the callback is Go's and makes one C call, because their linkers
// cannot redirect the callback's installation; use a deeper ring there.
package hardware
