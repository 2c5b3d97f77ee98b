// Package rig says how the instrument is wired to the gear of one machine, and stands between the
// engine's volts and the numbers of its audio interface.
//
//	Engine ─▶ volts ─▶ role ─▶ limit ─▶ slew ─▶ probe ─▶ limit ─▶ calibration ─▶ ÷ full scale ─▶ device
//	Engine ◀─ volts ◀─ role ◀─ calibration ◀───── probe ◀───────────────────── × full scale ◀─ device
//
// A rig file (Rig, RIGS.md) belongs to a machine and never to a scene: it names the interface, the
// channels that are loudspeakers, and a jack for each channel that is wired to gear, with the role
// of what runs through it and the volts that it may have. What an interface makes of a number is in
// its Profile, with how sure that is. A Case is made of a rig; it is the hardware.Converter that a
// device is opened with.
//
// Nothing here mixes, resamples, dithers or filters a control voltage. Three rules are kept whatever
// comes from the engine: a channel never leaves its limits, loudspeakers never get DC, and what is
// plugged in sees no jump when a device starts, stops, fails or returns.
package rig
