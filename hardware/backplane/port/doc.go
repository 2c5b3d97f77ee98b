// Package port is the daemon's end of the backplane: it finds panels on serial
// ports and on MIDI ports, keeps their sessions through unplugging and plugging,
// and turns what they do into knobs and gates of the patch.
//
//	panel ─▶ serial port, or SysEx ─▶ backplane.Host, one goroutine a line ─▶ Config.Knob, Config.Gate
//	      ◀─ lights ◀─────────────────────────────────────────────────── Panels.Show
//
// Each line has a goroutine that owns its session, one that reads and one that
// writes, so that a panel that hangs delays no other. What a panel holds high is
// low when it is gone: at once where the system tells so, after
// backplane.DaemonPatience where it is silent.
package port
