// Package site is the pages that tell what the instrument is: what it sounds
// like and why, how it is wired, what volts mean, and a sheet for each module.
// It stands beside the rack in a browser, reads declarations only, and touches
// nothing that plays.
//
// Nothing is written twice: sheets and the index come from the specs of the
// modules, their pictures from instrument/faceplate, the protocol from
// instrument.WriteProtocol. What only programs know, such as the scenes, comes
// in by Config. Pages link to one another relatively, so that the same files
// are served by the instrument and open from a disk.
package site
