// Package instrument is the rack: module specs, jacks, cables, the patch, the
// plan that a patch is compiled to, and the engine that plays it. It stands
// above dsp, whose units its modules are made of, and below mapping, which
// brings it what hands and clusters do.
//
// A Patch is what the player wants. A Compiler turns it, off the audio thread,
// into a Plan: nodes in the order in which they run. Engine.Render plays the
// plan and is the only method of the audio thread; events go in through a
// queue, edges and meters come out through another, and plans are exchanged
// by one atomic pointer. A module that stays in the patch keeps its node, so
// that its sound goes on; every input whose cable changed is faded over 5 ms.
//
// Every signal is in volts. Only package hardware knows of full scale.
//
// A module is declared once, as a ModuleSpec; panels, addresses, files and
// documents are made from it.
package instrument
