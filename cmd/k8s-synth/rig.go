package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/hardware/rig"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

func rigCommand() *cobra.Command {
	c := &cobra.Command{Use: "rig", Short: "How the instrument is wired to the gear of this machine", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	c.AddCommand(rigListCommand(), rigShowCommand(), rigCheckCommand(), rigNewCommand(), rigProfilesCommand(), &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of rig files", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(rig.Schema())
			return err
		},
	})
	return c
}

func rigListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the rigs of this machine", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := rigLibrary().List()
			if err != nil {
				return err
			}
			if len(list) == 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "there are none in %s; \"k8s-synth rig new\" writes one\n", rigLibrary().Dir)
				return nil
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, e := range list {
				title := e.Title
				if e.Err != nil {
					title, _, _ = strings.Cut(e.Err.Error(), "\n")
				}
				fmt.Fprintf(t, "%s\t%s\n", e.Name, title)
			}
			return t.Flush()
		},
	}
}

// rigJack is what is shown of a jack.
type rigJack struct {
	Jack      string        `json:"jack"`
	Channel   string        `json:"channel"`
	Role      rig.Role      `json:"role"`
	Standard  *rig.Standard `json:"standard,omitempty"`
	FullScale float64       `json:"full_scale"`
	Sure      rig.Sure      `json:"sure"`
	Min       float64       `json:"min"`
	Max       float64       `json:"max"`
	Safe      float64       `json:"safe"`
	Slew      float64       `json:"slew,omitempty"`
	Low       float64       `json:"low,omitempty"`
	High      float64       `json:"high,omitempty"`
}

func rigJacks(r *rig.Rig, jacks []rig.Jack) []rigJack {
	all := []rigJack{}
	for i := range jacks {
		j := &jacks[i]
		row := rigJack{Jack: j.Name, Channel: r.Place(j), Role: j.Role, FullScale: j.FullScale, Sure: j.Sure, Min: j.Min, Max: j.Max, Safe: j.Safe, Slew: j.Slew, Low: j.Low, High: j.High}
		if j.Role == rig.Pitch {
			row.Standard = &j.Standard
		}
		all = append(all, row)
	}
	return all
}

func rigShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "show RIG", Short: "Show the jacks of a rig with their volts and limits", Args: one(`rig (see "k8s-synth rig list")`),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := rigLibrary().Open(args[0])
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			outputs, inputs := rigJacks(r, r.Outputs), rigJacks(r, r.Inputs)
			speakers := []int{}
			for _, s := range r.Speakers {
				speakers = append(speakers, s+1)
			}
			if asJSON {
				return printJSON(out, map[string]any{"name": r.Name, "title": r.Title, "interface": r.Interface.Name, "playback": r.Playback(), "capture": r.Capture(),
					"speakers": speakers, "outputs": outputs, "inputs": inputs, "remarks": r.Remarks()})
			}
			fmt.Fprintf(out, "%s: %s, %d channels out, %d in\n", r.Name, r.Interface.Title, r.Playback(), r.Capture())
			fmt.Fprintf(out, "speakers on channels %s; %g V is full scale there\n\n", strings.Trim(fmt.Sprint(speakers), "[]"), r.AudioFullScale)
			t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "JACK\tCHANNEL\tROLE\tLIMITS\tREST\tFULL SCALE\tSURE")
			for _, j := range outputs {
				role := j.Role.String()
				switch {
				case j.Standard != nil:
					role += " " + j.Standard.Scale.String()
				case j.Role.Switches():
					role += fmt.Sprintf(" %g/%g V", j.Low, j.High)
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%.4g…%.4g V\t%g V\t±%.4g V\t%s\n", j.Jack, j.Channel, role, j.Min, j.Max, j.Safe, j.FullScale, j.Sure)
			}
			for _, j := range inputs {
				fmt.Fprintf(t, "%s\t%s\t%s in\t\t\t±%.4g V\t%s\n", j.Jack, j.Channel, j.Role, j.FullScale, j.Sure)
			}
			return t.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func rigCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check RIG…", Short: "Check rig files, and say where each mistake is and what is worth knowing", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var errs []error
			for _, a := range args {
				r, err := rigLibrary().Open(a)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: good\n", a)
				for _, m := range r.Remarks() {
					fmt.Fprintf(cmd.OutOrStdout(), "  %s\n", strings.ReplaceAll(m, "\n", "\n  "))
				}
			}
			return errors.Join(errs...)
		},
	}
}

func rigProfilesCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "profiles [NAME]", Short: "List what is known of audio interfaces, or print one profile's file", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if len(args) == 1 && !asJSON {
				text, err := rig.ProfileText(args[0])
				if err != nil {
					return err
				}
				_, err = out.Write(text)
				return err
			}
			all, err := rig.Profiles()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				p, err := rig.FindProfile(args[0])
				if err != nil {
					return err
				}
				all = []*rig.Profile{p}
			}
			if asJSON {
				return printJSON(out, all)
			}
			t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "PROFILE\tDEVICE\tOUTPUTS\tFULL SCALE\tCOUPLING\tSURE")
			for _, p := range all {
				title := p.Title
				if p.Reference {
					title += " (for reference)"
				}
				name := p.Name
				for _, g := range p.Outputs {
					if g.Use != "jacks" && !p.Reference {
						continue
					}
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", name, title, g.Span(), g.Volts(), g.Coupling, g.Sure)
					name, title = "", ""
				}
			}
			return t.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func rigNewCommand() *cobra.Command {
	var file, name, profile string
	var playback, capture int
	c := &cobra.Command{
		Use: "new [DEVICE]", Short: "Write a rig file for an audio device, with comments", Args: cobra.MaximumNArgs(1),
		Long: `Writes a rig file for an audio device, named as "k8s-synth devices" lists it by its
id or a part of its name; without one for the first that there is a profile for,
or for the system's default. It asks nothing and changes nothing: the file is
printed unless -o names one, and one that is there is never overwritten.`,
		Example: "  k8s-synth rig new\n  k8s-synth rig new hw:2,0 --profile es-9 -o ~/.config/k8s-synth/rigs/studio.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			for flag, n := range map[string]int{"--playback": playback, "--capture": capture} {
				if n < 0 || n > hardware.MaxChannels {
					return usageError{fmt.Errorf("%s is 1 to %d channels, got %d", flag, hardware.MaxChannels, n)}
				}
			}
			want := ""
			if len(args) == 1 {
				want = args[0]
			}
			devices, _ := hardware.Devices()
			p, d, err := chooseDevice(devices, want, profile)
			if err != nil {
				return err
			}
			if playback > 0 {
				d.Playback = playback
			}
			if capture > 0 {
				d.CaptureChannels = capture
			}
			if name == "" && file != "" {
				name = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
			}
			if name == "" {
				name = p.Name
			}
			text := rig.New(name, p, d)
			if _, err := rig.Parse("new.yaml", text); err != nil {
				return fmt.Errorf("the rig would not be good: %w", err)
			}
			if file == "" || file == "-" {
				_, err := cmd.OutOrStdout().Write(text)
				return err
			}
			return writeNew(file, text)
		},
	}
	f := c.Flags()
	f.StringVarP(&file, "output", "o", "", "file to write, which must not be there (default: standard output)")
	f.StringVar(&name, "name", "", "name of the rig (default: that of the file, or of the profile)")
	f.StringVar(&profile, "profile", "", `profile of the interface (default: by the device's name, else unknown; see "k8s-synth rig profiles")`)
	f.IntVar(&playback, "playback", 0, "playback channels, where the profile does not say")
	f.IntVar(&capture, "capture", 0, "capture channels, where the profile does not say")
	return c
}

// chooseDevice finds the device that a rig is for, and its profile.
func chooseDevice(devices []hardware.DeviceInfo, want, profile string) (*rig.Profile, rig.Device, error) {
	var chosen *hardware.DeviceInfo
	var p *rig.Profile
	for i := range devices {
		d := &devices[i]
		if want != "" {
			if d.ID == want || strings.Contains(strings.ToLower(d.Name), strings.ToLower(want)) {
				chosen = d
				break
			}
			continue
		}
		known, err := rig.ProfileOf(d.Name)
		if err != nil {
			return nil, rig.Device{}, err
		}
		if known != nil && p == nil {
			chosen, p = d, known
		}
		if chosen == nil && d.Default {
			chosen = d
		}
	}
	d := rig.Device{}
	switch {
	case chosen != nil:
		d.Backend, d.Name = chosen.Backend, chosen.ID
		if chosen.Backend == "null" {
			d.Name = ""
		}
	case want != "" && profile == "" && !strings.HasPrefix(want, "hw:"):
		return nil, d, fmt.Errorf("no audio device %q; \"k8s-synth devices\" lists them", want)
	default:
		d.Name = want
		if strings.HasPrefix(want, "hw:") {
			d.Backend = "alsa" // a raw id need not be listed
		}
	}
	var err error
	switch {
	case profile == "unknown":
		p = nil
	case profile != "":
		if p, err = rig.FindProfile(profile); err != nil {
			return nil, d, err
		}
	case p == nil && chosen != nil:
		if p, err = rig.ProfileOf(chosen.Name); err != nil {
			return nil, d, err
		}
	}
	channels := 8
	if chosen != nil && chosen.Channels > 0 {
		channels = min(chosen.Channels, hardware.MaxChannels)
	}
	if p == nil {
		p, d.Playback = rig.UnknownInterface(channels, 0), channels
	} else if p.Playback == 0 {
		d.Playback = channels
	}
	return p, d, nil
}

// writeNew writes a file that is not there yet; folders that are missing are made.
func writeNew(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	err := document.WriteNew(path, 0o644, document.Bytes(text))
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and is not overwritten; name another file", path)
	}
	return err
}
