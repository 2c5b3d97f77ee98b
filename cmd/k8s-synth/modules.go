package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// modulesCommand tells which modules there are; all of it comes from their
// declarations.
func modulesCommand() *cobra.Command {
	var markdown bool
	c := &cobra.Command{
		Use: "modules [KIND]", Short: "List the modules, or the knobs and jacks of one", Args: cobra.MaximumNArgs(1),
		Example: `  k8s-synth modules
  k8s-synth modules service
  k8s-synth modules --markdown   # the signal protocol: voltages, cables, every module`,
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if markdown {
				if len(args) > 0 {
					return usageError{fmt.Errorf("--markdown is the whole protocol; it goes without %q", args[0])}
				}
				return instrument.WriteProtocol(out)
			}
			w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			if len(args) == 0 {
				fmt.Fprintln(w, "KIND\tHP\tWHAT IT IS")
				for _, s := range instrument.Specs() {
					fmt.Fprintf(w, "%s\t%d\t%s\n", s.Kind, s.HP, s.Doc)
				}
				return w.Flush()
			}
			s := instrument.Spec(args[0])
			if s == nil {
				var kinds []string
				for _, s := range instrument.Specs() {
					kinds = append(kinds, s.Kind)
				}
				return usageError{fmt.Errorf("there is no module %q; there are %s", args[0], strings.Join(kinds, ", "))}
			}
			fmt.Fprintf(out, "%s. %s\n", s.Title, s.Doc)
			if s.Bound != "" {
				fmt.Fprintf(out, "Bound to %s.\n", s.Bound)
			}
			fmt.Fprintln(out)
			for i := range s.Params {
				p := &s.Params[i]
				fmt.Fprintf(w, "knob\t%s\t%s\t%s\n", p.Name, p.Range(), p.Doc)
			}
			for _, j := range s.Inputs {
				fmt.Fprintf(w, "in\t%s\t%s\t%s\n", j.Name, j.Kind, j.Doc)
			}
			for _, j := range s.Outputs {
				unit := j.Kind.String()
				if j.Unit != "" {
					unit += ", " + j.Unit
				}
				fmt.Fprintf(w, "out\t%s\t%s\t%s\n", j.Name, unit, j.Doc)
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&markdown, "markdown", false, "print the signal protocol as Markdown")
	return c
}
