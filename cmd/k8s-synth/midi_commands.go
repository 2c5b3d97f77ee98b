package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// open are the ports that are in use.
func (m *midiSurface) open() (list []port.Info) {
	if m == nil {
		return nil
	}
	for _, i := range m.hub.Ports() {
		if i.Open {
			list = append(list, i)
		}
	}
	return list
}

// midiTotal counts the messages of all ports.
type midiTotal struct {
	Received uint64 `json:"received"`
	Sent     uint64 `json:"sent"`
	Dropped  uint64 `json:"dropped"`
}

func (m *midiSurface) total() (t midiTotal) {
	if m == nil {
		return t
	}
	for _, i := range m.hub.Ports() {
		t.Received, t.Sent, t.Dropped = t.Received+i.Received, t.Sent+i.Sent, t.Dropped+i.Dropped
	}
	return t
}

// serveMIDI tells of all ports.
func (p *player) serveMIDI(w http.ResponseWriter, _ *http.Request) {
	var m *midiSurface
	if !p.ask(func() { m = p.midi }) {
		http.Error(w, errAway.Error(), http.StatusServiceUnavailable)
		return
	}
	if m == nil {
		http.Error(w, "MIDI is off", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(m.hub.Ports())
}

// describePort tells of a port that is in use.
func describePort(i port.Info) string {
	s := fmt.Sprintf("%s (%s): %d in, %d out", i.Name, i.Driver, i.Received, i.Sent)
	if i.Dropped > 0 {
		s += fmt.Sprintf(", %d dropped", i.Dropped)
	}
	if len(i.Connected) > 0 {
		s += ", heard by " + strings.Join(i.Connected, ", ")
	}
	return s
}

func midiCommand() *cobra.Command {
	c := &cobra.Command{Use: "midi", Short: "List MIDI ports, and write names for a DAW", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var dir string
	ports := &cobra.Command{
		Use: "ports", Short: "List the MIDI ports that there are, and what the running instrument does with them", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := stateDirPath(dir)
			if err != nil {
				return err
			}
			var list []port.Info
			err = fetch(cmd.Context(), socketPath(d), "/midi", &list)
			if errors.Is(err, errNotPlaying) {
				return systemPorts(cmd.OutOrStdout())
			}
			if err != nil {
				return err
			}
			if len(list) == 0 {
				return systemPorts(cmd.OutOrStdout())
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "PORT\tSYSTEM\tWAYS\tSTATE\tIN\tOUT\tDROPPED")
			for _, i := range list {
				state := "not opened; name it with --midi"
				switch {
				case i.Open && len(i.Connected) > 0:
					state = "open, heard by " + strings.Join(i.Connected, ", ")
				case i.Open:
					state = "open"
				case i.Error != "":
					state = i.Error
				case !i.Present:
					state = "gone"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\t%d\n", i.Name, i.Driver, ways(i.In, i.Out), state, i.Received, i.Sent, i.Dropped)
			}
			return t.Flush()
		},
	}
	ports.Flags().StringVar(&dir, "state-dir", "", "the instrument's state directory")
	c.AddCommand(ports, midiNamesCommand())
	return c
}

func ways(in, out bool) string {
	switch {
	case in && out:
		return "in and out"
	case in:
		return "in"
	}
	return "out"
}

// systemPorts lists what the systems have while no instrument plays.
func systemPorts(w io.Writer) error {
	drivers, end := midiDrivers(midiName+" ports", slog.New(slog.DiscardHandler))
	defer end()
	return listPorts(w, drivers)
}

// listPorts lists the ports of MIDI systems; where there is none, it says what
// was looked for.
func listPorts(w io.Writer, drivers []port.Driver) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	n := 0
	row := func(name, system, ways string) {
		if n == 0 {
			fmt.Fprintln(t, "PORT\tSYSTEM\tWAYS")
		}
		n++
		fmt.Fprintf(t, "%s\t%s\t%s\n", name, system, ways)
	}
	var why []string
	for _, d := range drivers {
		ins, outs, err := d.Ports()
		if err != nil {
			why = append(why, fmt.Sprintf("%s: %v", d.Name(), err))
			continue
		}
		for _, name := range ins {
			row(name, d.Name(), "in")
		}
		for _, name := range outs {
			row(name, d.Name(), "out")
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	switch {
	case n == 0 && len(why) == len(drivers):
		fmt.Fprintln(w, "no MIDI system was found; what was looked for:")
	case n == 0:
		fmt.Fprintln(w, "there are no ports; the instrument's own appear while it plays")
	}
	for _, s := range why {
		fmt.Fprintln(w, s)
	}
	return nil
}
