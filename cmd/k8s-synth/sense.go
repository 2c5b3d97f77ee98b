package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/hardware/sense"
)

// senseEvery is how often --watch asks.
const senseEvery = 100 * time.Millisecond

func senseCommand() *cobra.Command {
	var dir string
	var asJSON, watch bool
	c := &cobra.Command{
		Use: "sense", Short: "Show the cables that are plugged into the case", Args: cobra.NoArgs,
		Long: `Shows which outputs of the rig are plugged into which inputs, as the running
instrument hears it. It listens when it was started with --sense, or is told to
over OSC with /sense.`,
		Example: `  k8s-synth sense
  k8s-synth sense --watch
  k8s-synth sense --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := stateDirPath(dir)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			for {
				var r sense.Report
				if err := fetch(cmd.Context(), socketPath(d), "/sense", &r); err != nil {
					if cmd.Context().Err() != nil {
						return nil
					}
					return err
				}
				switch {
				case asJSON && watch: // a line for each
					if err := json.NewEncoder(out).Encode(&r); err != nil {
						return err
					}
				case asJSON:
					return printJSON(out, &r)
				case watch:
					var b strings.Builder
					drawSense(&b, &r)
					// Written over the last one, so that it does not flicker.
					fmt.Fprint(out, "\x1b[H"+strings.ReplaceAll(b.String(), "\n", "\x1b[K\n")+"\x1b[J")
				default:
					drawSense(out, &r)
				}
				if !watch {
					return nil
				}
				select {
				case <-cmd.Context().Done():
					return nil
				case <-time.After(senseEvery):
				}
			}
		},
	}
	f := c.Flags()
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.BoolVar(&watch, "watch", false, "show it anew ten times a second until Ctrl-C")
	f.StringVar(&dir, "state-dir", "", "the instrument's state directory")
	return c
}

// drawSense draws the matrix, a row for each output and a column for each
// input, and tells of each cable.
func drawSense(w io.Writer, r *sense.Report) {
	width := len("output")
	for _, o := range r.Outputs {
		width = max(width, len([]rune(o.Name)))
	}
	pad := func(s string) string { return s + strings.Repeat(" ", width-len([]rune(s))) }
	at := map[[2]string]*sense.Cable{}
	for i := range r.Cables {
		at[[2]string{r.Cables[i].Output, r.Cables[i].Input}] = &r.Cables[i]
	}
	head := pad("output")
	for i := range r.Inputs {
		head += fmt.Sprintf("%3d", i+1)
	}
	fmt.Fprintln(w, head)
	for _, o := range r.Outputs {
		row := pad(o.Name)
		for _, in := range r.Inputs {
			mark := "·"
			if c := at[[2]string{o.Name, in.Name}]; c != nil {
				if mark = "●"; c.Polarity < 0 {
					mark = "○"
				}
			}
			row += "  " + mark
		}
		fmt.Fprintln(w, row)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tINPUT\tNOISE\tLEVEL\t")
	for i, in := range r.Inputs {
		var notes []string
		for _, m := range r.Mixed {
			if m.Jack == in.Name {
				notes = append(notes, "a mix of "+strings.Join(m.With, ", "))
			}
		}
		if in.Foreign {
			notes = append(notes, "carries something that is not ours")
		}
		if in.Clipped {
			notes = append(notes, "clips")
		}
		fmt.Fprintf(t, "%d\t%s\t%.0f dBFS\t%+.3f V\t%s\n", i+1, in.Name, in.Noise, in.Level, strings.Join(notes, "; "))
	}
	t.Flush()
	if len(r.Cables) > 0 {
		fmt.Fprintln(w)
		fmt.Fprintln(t, "CABLE\tGAIN\tOFFSET\tCOUPLING\tSNR\tSINCE\t")
		cables := slices.Clone(r.Cables)
		slices.SortStableFunc(cables, func(a, b sense.Cable) int { return cmp.Compare(a.Since, b.Since) })
		for _, c := range cables {
			mark := "●"
			if c.Polarity < 0 {
				mark = "○ inverted"
			}
			fmt.Fprintf(t, "%s > %s\t%.3f\t%+.3f V\t%s\t%.0f dB\t%s\t%s\n", c.Output, c.Input, c.Gain, c.Offset, cmp.Or(c.Coupling, "?"), c.SNR,
				framesAgo(r.Stats.Frames-c.Since, r.Stats.Rate), mark)
		}
		t.Flush()
	}
	fmt.Fprintln(w)
	s := &r.Stats
	trip := "round trip unknown"
	if s.Latency >= 0 {
		trip = fmt.Sprintf("round trip %d frames (%.1f ms)", s.Latency, 1000*float64(s.Latency)/float64(max(s.Rate, 1)))
	}
	if s.Searching {
		trip += ", looking for it"
	}
	if !s.Enabled {
		trip = "off: nothing is sent or heard"
	}
	fmt.Fprintf(w, "%s, %.1f %% of a core, dropped %d, gaps %d\n", trip, 100*s.Load, s.Dropped, s.Gaps)
}

// framesAgo tells a time in the past to a tenth of a second, and a long one to
// the second.
func framesAgo(frames int64, rate int) string {
	d := time.Duration(float64(frames) / float64(max(rate, 1)) * float64(time.Second))
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
