// Package faceplate draws the panels of modules: it stands beside the engine
// in instrument, reads nothing but ModuleSpec, and is read by everything that
// shows a module: the rack in a browser, the panels for VCV Rack, and whoever
// has a faceplate cut.
//
// Build lays a module out: where each knob, switch, display, jack and word
// stands, in millimetres from the top left corner of a panel of 3U. SVG draws
// what Build laid out, for a browser (words as words, colours as variables,
// an id for each control) or for VCV Rack (words as paths, no style sheet,
// and a layer that says where the components go).
//
// The same spec always gives the same panel, to the byte.
package faceplate
