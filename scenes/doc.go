// Package scenes reads and writes what is kept on disk: scenes, which are a
// patch with its rules, its seed and its settings; scripts, which are a
// performance of the cluster written by hand; and takes, which are one
// recorded. It also holds the scenes that ship, and finds the player's own.
//
// It stands beside kube and hardware above mapping: a scene's Patch goes to
// the instrument, its Rules are compiled by mapping/rule, the steps of a script or
// take go where live transitions go.
//
// All files are read strictly. What is unknown, double or out of range is an
// Error that names file, line and column, and every mistake of a file is
// reported at once.
package scenes
