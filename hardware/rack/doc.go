// Package rack tells whether the rack as it is patched could stand in a case: the
// width and the current of its modules, by their declarations, against the rows,
// the rails and the headers of a supply file. It is beside the signal path.
//
//	patch ─▶ Modules ─▶ Supply.Audit ─▶ Report ─▶ verdict, bars, JSON
//
// What a figure is worth is part of it: supplies say how sure each one is, and a
// report says which of its figures are estimates.
package rack
