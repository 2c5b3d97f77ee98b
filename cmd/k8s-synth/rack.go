package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/hardware/rack"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// supplyLibrary is the supplies of the player and those that ship.
func supplyLibrary() rack.Library {
	dir, err := os.UserConfigDir()
	if err != nil {
		return rack.Library{}
	}
	return rack.Library{Dir: filepath.Join(dir, "k8s-synth", "supplies")}
}

// rackModules is the rack of a scene, each module where the scene has it.
func rackModules(s *scenes.Scene) []rack.Module {
	return rack.Modules(s.Patch, func(id instrument.ModuleID) (row, at int, ok bool) {
		p, ok := s.Places[id]
		return p.Row, p.HP, ok
	})
}

func rackCommand() *cobra.Command {
	c := &cobra.Command{Use: "rack", Short: "Whether the rack as it is patched would fit into a case", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var supply string
	var asJSON bool
	audit := &cobra.Command{
		Use: "audit [SCENE]", Short: "Compare the width and the current of a scene's modules with a case and its supply", Args: cobra.MaximumNArgs(1),
		Long: `Adds up the width and the current of a scene's modules, as their declarations
have them, and compares them with the rows, the rails and the headers of a
supply file, with room for the start. The last line is the verdict; the exit
code is 1 where the rack does not fit.`,
		Example: `  k8s-synth rack audit cluster --supply doepfer-a100g6
  k8s-synth rack audit my-scene --supply ./my-case.yaml --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := "default"
			if len(args) > 0 {
				name = args[0]
			}
			s, err := openStore().Open(name)
			if err != nil {
				return err
			}
			with, err := supplyLibrary().Open(supply)
			if err != nil {
				return err
			}
			report := with.Audit(rackModules(s))
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", s.Name, s.Title)
				err = report.WriteText(cmd.OutOrStdout())
			}
			if err == nil && !report.Fits {
				err = fmt.Errorf("%s does not fit into %s", s.Name, with.Name)
			}
			return err
		},
	}
	audit.Flags().StringVar(&supply, "supply", "large", `name or file of the case and its supply (see "k8s-synth rack supplies")`)
	audit.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(audit, &cobra.Command{
		Use: "supplies", Short: "List the cases and supplies that there are", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := supplyLibrary().List()
			if err != nil {
				return err
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "SUPPLY\tWHAT IT IS\tFILE")
			for _, e := range list {
				title, file := e.Title, e.Path
				if e.Err != nil {
					title, _, _ = strings.Cut(e.Err.Error(), "\n")
				}
				if file == "" {
					file = "ships with k8s-synth"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\n", e.Name, title, file)
			}
			return t.Flush()
		},
	}, &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of supply files", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(rack.Schema())
			return err
		},
	})
	return c
}
