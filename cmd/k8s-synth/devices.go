package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/hardware"
)

func devicesCommand() *cobra.Command {
	var asJSON, capture bool
	c := &cobra.Command{
		Use: "devices", Short: "List the audio devices", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := hardware.Devices
			if capture {
				list = hardware.CaptureDevices
			}
			devices, missing := list()
			out := cmd.OutOrStdout()
			if asJSON {
				if devices == nil {
					devices = []hardware.DeviceInfo{}
				}
				return printJSON(out, devices)
			}
			t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "BACKEND\tNAME\tCHANNELS\tRATES\tID")
			for _, d := range devices {
				name, channels, rates := d.Name, "any", "any"
				if d.Default {
					name += " (default)"
				}
				if d.Channels > 0 {
					channels = strconv.Itoa(d.Channels)
				}
				if len(d.Rates) > 0 {
					var rs []string
					for _, r := range d.Rates {
						rs = append(rs, strconv.Itoa(r))
					}
					rates = strings.Join(rs, " ")
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", d.Backend, name, channels, rates, d.ID)
			}
			t.Flush()
			for _, b := range slices.Sorted(maps.Keys(missing)) {
				fmt.Fprintf(out, "%s: not available: %v\n", b, missing[b])
			}
			return nil
		},
	}
	c.Flags().BoolVar(&capture, "capture", false, "list those to capture from")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
