package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/hardware/backplane"
	"github.com/k8s-synth/k8s-synth/hardware/backplane/emulator"
	"github.com/k8s-synth/k8s-synth/hardware/backplane/port"
	"github.com/k8s-synth/k8s-synth/instrument"
)

func panelCommand() *cobra.Command {
	c := &cobra.Command{Use: "panel", Short: "List hardware panels, or be one without the hardware", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	c.AddCommand(panelListCommand(), panelEmulateCommand())
	return c
}

func panelListCommand() *cobra.Command {
	var dir string
	var ports []string
	var wait time.Duration
	var asJSON bool
	c := &cobra.Command{
		Use: "list", Short: "List the panels of the running instrument, or those that are plugged in", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if wait < 0 || wait > time.Minute {
				return usageError{fmt.Errorf("--wait is up to a minute, got %v", wait)}
			}
			d, err := stateDirPath(dir)
			if err != nil {
				return err
			}
			var list []port.Info
			switch s, err := fetchStatus(cmd.Context(), socketPath(d)); {
			case errors.Is(err, errNotPlaying):
				list = lookForPanels(cmd.Context(), ports, wait)
			case err != nil:
				return err
			default:
				list = s.Panels
			}
			return printPanels(cmd.OutOrStdout(), list, asJSON)
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "state-dir", "", "the instrument's state directory")
	f.StringSliceVar(&ports, "port", []string{port.Auto}, "where to look while no instrument plays: paths, or auto")
	f.DurationVar(&wait, "wait", 2*time.Second, "how long to look")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// lookForPanels asks who is there, and binds nobody.
func lookForPanels(ctx context.Context, ports []string, wait time.Duration) []port.Info {
	p := port.Open(port.Config{Ports: ports, Bind: func(port.Panel) (string, bool) { return "", false }})
	defer p.Close()
	limit := time.After(wait)
	for {
		list := p.List()
		known := 0
		for _, i := range list {
			if i.Kind != "" && i.State != "looking" {
				known++
			}
		}
		// Those that are found by themselves may not be all.
		if known == len(ports) && known == len(list) && !slices.Contains(ports, port.Auto) {
			return list
		}
		select {
		case <-ctx.Done():
			return list
		case <-limit:
			return list
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func printPanels(w io.Writer, list []port.Info, asJSON bool) error {
	if asJSON {
		if list == nil {
			list = []port.Info{}
		}
		return printJSON(w, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(w, "there are none; \"k8s-synth panel emulate\" makes one without hardware")
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PORT\tSTATE\tPANEL\tSERIAL\tFIRMWARE\tMODULE\tROUND TRIP\tFRAMES\tDAMAGED")
	for _, i := range list {
		state, trip := i.State, ""
		if i.Error != "" {
			state = i.Error
		}
		if i.RoundTrip > 0 {
			trip = i.RoundTrip.String()
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", i.Port, state, i.Kind, i.Serial, i.Firmware, i.Module, trip, i.Frames, i.BadHere+uint32(i.BadThere))
	}
	return t.Flush()
}

// emulateOptions are the flags of panel emulate.
type emulateOptions struct {
	port, module string
	sysex        bool
	demo         bool
	asJSON       bool
}

func panelEmulateCommand() *cobra.Command {
	var o emulateOptions
	c := &cobra.Command{
		Use: "emulate", Short: "Be a hardware Pod without the hardware", Args: cobra.NoArgs,
		Long: `Runs the firmware of hardware Pod v0 in this process. Its USB port is a
pseudo-terminal: the instrument finds it by the link that --port names. With
--port - it speaks on stdin and stdout instead.

On stdin it takes, a line each: "cpu 0.7" turns the knob, "jack 5" puts 5 V on
the lifecycle jack, "trigger" a trigger of 1 ms, "quit" unplugs it. On stdout
it tells what its lights show.`,
		Example: `  k8s-synth panel emulate --port /tmp/pod-1 --module pod/web-1
  k8s-synth play --panel /tmp/pod-1`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch id := instrument.ModuleID(o.module); {
			case o.module != "" && (id.Kind() != "pod" || id.Name() == "" || len(id) > backplane.MaxModule):
				return usageError{fmt.Errorf("--module is a pod of the patch, such as pod/web-1, got %q", o.module)}
			case o.port == "":
				return usageError{errors.New("--port names where the instrument finds it, or is -; it is missing")}
			}
			return emulatePanel(cmd.Context(), o, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	f := c.Flags()
	f.StringVar(&o.port, "port", "", "path of the link to the pseudo-terminal, or - for stdin and stdout")
	f.StringVar(&o.module, "module", "pod/web-1", "the module that it wishes to be")
	f.BoolVar(&o.sysex, "sysex", false, "speak MIDI exclusive messages, as over USB-MIDI")
	f.BoolVar(&o.demo, "demo", false, "turn the knob and play the jack by itself")
	f.BoolVar(&o.asJSON, "json", false, "tell what the lights show as JSON, one object a line")
	return c
}

// emulatePanel is a panel until the context ends or the commands do.
func emulatePanel(ctx context.Context, o emulateOptions, in io.Reader, out io.Writer) error {
	framing := backplane.Serial
	if o.sysex {
		framing = backplane.SysEx
	}
	p := emulator.New(o.module, framing)
	if o.demo {
		go demonstrate(ctx, p)
	}
	if o.port == "-" {
		return p.Serve(ctx, in, out)
	}
	t, err := emulator.OpenTerminal(o.port)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var served error
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		served = p.Serve(ctx, t, t)
		cancel()
	}()
	go func() {
		defer cancel()
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			if quit, err := panelOrder(p, lines.Text()); err != nil {
				fmt.Fprintln(os.Stderr, err)
			} else if quit {
				return
			}
		}
		<-ctx.Done() // a daemon has no stdin, and plays on
	}()
	tellPanel(ctx, p, o.asJSON, out)
	wg.Wait()
	return errors.Join(served, t.Close())
}

// panelOrder does one line of stdin.
func panelOrder(p *emulator.Pod, line string) (quit bool, err error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return false, nil
	}
	number := func(low, high float64) (float64, error) {
		if len(words) == 2 {
			if v, err := strconv.ParseFloat(words[1], 64); err == nil && v >= low && v <= high {
				return v, nil
			}
		}
		return 0, fmt.Errorf("%s takes a number from %g to %g", words[0], low, high)
	}
	switch words[0] {
	case "cpu":
		v, err := number(0, 1)
		if err == nil {
			p.Knob(v)
		}
		return false, err
	case "jack":
		v, err := number(-12, 12)
		if err == nil {
			p.Jack(v)
		}
		return false, err
	case "trigger":
		p.Trigger()
		return false, nil
	case "quit":
		return true, nil
	}
	return false, fmt.Errorf("%q is no order; there are cpu 0…1, jack VOLTS, trigger and quit", line)
}

// tellPanel prints what the panel shows, whenever that changes, until the
// context ends.
func tellPanel(ctx context.Context, p *emulator.Pod, asJSON bool, w io.Writer) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	last := ""
	for {
		s := p.State()
		key := fmt.Sprint(s.Module, s.ReadyShown, s.LoadShown)
		if key != last {
			last = key
			if asJSON {
				_ = json.NewEncoder(w).Encode(s)
			} else if s.Module == "" {
				fmt.Fprintln(w, "nobody plays this panel")
			} else {
				fmt.Fprintf(w, "%s  ready %s  load %s %.0f %%\n", s.Module, lamp(s.Ready), strings.Join(lamps(s.Load), ""), 100*s.LoadShown)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// lamp is a light by its brightness.
func lamp(v float64) string {
	return string([]rune("·░▒▓█")[min(int(v*5), 4)])
}

func lamps(v []float64) (all []string) {
	for _, x := range v {
		all = append(all, lamp(x))
	}
	return all
}

// demonstrate plays the panel: a slow turn of the knob, the jack up for half of
// every four seconds.
func demonstrate(ctx context.Context, p *emulator.Pod) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	began := time.Now()
	for up := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		t := time.Since(began).Seconds()
		turn := t / 8
		turn -= float64(int(turn))
		p.Knob(1 - 2*max(turn-0.5, 0.5-turn))
		if now := int(t)%4 < 2; now != up {
			up = now
			v := 0.0
			if up {
				v = 10
			}
			p.Jack(v)
		}
	}
}
