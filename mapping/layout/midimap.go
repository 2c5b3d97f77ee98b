package layout

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
)

// taken are controllers that mean something else by themselves: bank select,
// data entry, and the choice of a parameter. From 120 on they are modes.
var taken = map[uint8]bool{0: true, 6: true, 32: true, 38: true, 96: true, 97: true, 98: true, 99: true, 100: true, 101: true}

const lastController = 119

// assignControllers gives a MIDI controller to each address that a hand moves:
// a page has a channel, and what is on several pages has one controller. Where
// a channel is full the next goes on; with more than sixteen channels hold, the
// rest has none. Kill and drain have none: a controller that another program
// sweeps must not reach them. Resume takes what the others leave, which keeps
// theirs what they were before there was one.
func (l *Layout) assignControllers() {
	have := map[string]Controller{}
	next := [16]uint8{}
	take := func(channel int) (Controller, bool) {
		for range 16 {
			for next[channel] <= lastController {
				n := next[channel]
				next[channel]++
				if !taken[n] {
					return Controller{Set: true, Channel: uint8(channel), Number: n}, true
				}
			}
			channel = (channel + 1) % 16
		}
		return Controller{}, false
	}
	give := func(ws []Widget, channel int, resume bool) {
		for i := range ws {
			w := &ws[i]
			if !w.Kind.Touch() || w.Guarded {
				continue
			}
			for k := range w.Bind {
				b := &w.Bind[k]
				if !b.Send || (b.Address == "/resume") != resume {
					continue
				}
				c, ok := have[b.Address]
				if !ok {
					if c, ok = take(channel); !ok {
						continue
					}
					have[b.Address] = c
				}
				b.MIDI = c
			}
		}
	}
	for _, resume := range []bool{false, true} {
		give(l.Bar, 0, resume)
		for i := range l.Pages {
			give(l.Pages[i].Widgets, i%16, resume)
		}
	}
}

// WriteMIDIMap returns which controller plays what, as CSV: one line an
// address, in the order of the pages. Channels are counted from 1.
func WriteMIDIMap(l *Layout) []byte {
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	row := func(fields ...string) { _ = w.Write(fields) } // a buffer takes everything
	row("page", "address", "channel", "controller", "low", "high", "min", "max", "curve", "unit", "words")
	seen := map[string]bool{}
	write := func(page string, ws []Widget) {
		for i := range ws {
			for _, b := range ws[i].Bind {
				if !b.MIDI.Set || seen[b.Address] {
					continue
				}
				seen[b.Address] = true
				curve := "linear"
				switch {
				case b.Exponential:
					curve = "exponential"
				case b.Form == Whole || b.Form == Word:
					curve = "steps"
				case b.Form == Command:
					curve = "command"
				case b.Form == Volts:
					curve = "gate"
				}
				n := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
				row(page, b.Address, strconv.Itoa(int(b.MIDI.Channel)+1), strconv.Itoa(int(b.MIDI.Number)), "0", "127",
					n(b.Min), n(b.Max), curve, b.Unit, strings.Join(b.Words, " "))
			}
		}
	}
	write("bar", l.Bar)
	for i := range l.Pages {
		write(l.Pages[i].Name, l.Pages[i].Widgets)
	}
	w.Flush()
	return out.Bytes()
}

// doings are the commands as mapping files call them.
var doings = map[string]string{"/panic": "panic", "/resume": "resume", "/arm": "arm", "/undo": "undo", "/redo": "redo", "/scene/next": "scene:+1", "/scene/previous": "scene:-1"}

// WriteMapping returns a mapping file that binds the layout's controllers to
// what they play, so that the instrument knows them when a tablet is plugged in
// by MIDI. A value jumps to where a finger is: the tablet follows all others.
func WriteMapping(l *Layout) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "version: 1\nname: touchosc-%s\ntitle: The controllers of the TouchOSC layout of %s\ntakeover: jump\nbindings:\n", l.Name, l.Name)
	seen := map[string]bool{}
	write := func(page string, ws []Widget) {
		comment := "  # " + page + "\n"
		for i := range ws {
			for _, b := range ws[i].Bind {
				to, action := doings[b.Address]
				if !b.MIDI.Set || seen[b.Address] || b.Form == Command && !action {
					continue
				}
				seen[b.Address] = true
				mode := "absolute"
				switch {
				case b.Form == Volts && ws[i].Kind == Button:
					mode = "gate"
				case action:
					mode = "auto"
				}
				if !action {
					to = b.Address
				}
				fmt.Fprintf(&out, "%s  - control: cc %d ch %d\n    to: %s\n", comment, b.MIDI.Number, b.MIDI.Channel+1, to)
				if mode != "auto" {
					fmt.Fprintf(&out, "    mode: %s\n", mode)
				}
				comment = ""
			}
		}
	}
	write("bar", l.Bar)
	for i := range l.Pages {
		write(l.Pages[i].Name, l.Pages[i].Widgets)
	}
	return out.Bytes()
}
