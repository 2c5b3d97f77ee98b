// Package touchosc reads and writes the two kinds of layout files of TouchOSC:
// .tosc, which is XML in a zlib stream, and the older .touchosc, which is XML in
// a zip. It stands behind mapping/layout as its proof: the readers are made from
// the facts of the formats, share nothing with what writes layouts, and take
// nothing that is not in its place. What they take they write again to the byte.
//
// A mistake is told with its place, as
//
//	GROUP "cluster"/PAGER "pages"/GROUP "play"/FADER "tempo"/messages[0]: connections "11111" …
//
// Of .tosc they know version 6, as TouchOSC 1.5 writes it: single-quoted
// attributes, no blanks between elements, CDATA around every key and word,
// properties in the order of their keys. A property that the format does not
// know is a mistake here, although TouchOSC keeps such.
package touchosc
