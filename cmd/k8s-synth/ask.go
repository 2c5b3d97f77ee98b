package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// cliSource is the command line as a source of turns. Who may open the status
// socket is the instrument's owner, and types what is meant.
const cliSource = "command line"

// serveDo does the action of a request, and answers when it is done.
func (p *player) serveDo(w http.ResponseWriter, r *http.Request) {
	var err error
	action := r.FormValue("action")
	do := func() { err = p.act(turn{action: action, source: cliSource, at: time.Now()}) }
	if action == actPanic || takesTime(action) {
		if err := p.askAct(turn{action: action, source: cliSource, at: time.Now()}); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		fmt.Fprintln(w, "done")
		return
	}
	if action == actUndo || action == actRedo {
		p.serveUndo(w, action)
		return
	}
	saved := make(chan error, 1)
	if name, ok := strings.CutPrefix(action, actSave); ok && (name == "" || name[0] == ':') {
		do = func() {
			p.save(strings.TrimPrefix(name, ":"), cliSource, func(_ string, err error) { saved <- err })
		}
	} else {
		saved <- nil
	}
	asked := p.ask(do)
	if asked && err == nil {
		err = <-saved
	}
	if !asked {
		http.Error(w, errAway.Error(), http.StatusServiceUnavailable)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	fmt.Fprintln(w, "done")
}

// socketClient speaks to the instrument that listens at a socket.
func socketClient(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}, DisableKeepAlives: true}}
}

// do asks the instrument whose state is in dir for an action.
func do(ctx context.Context, dir, action string) error {
	_, err := doTold(ctx, dir, action)
	return err
}

// doTold is do, and returns what the instrument answers.
func doTold(ctx context.Context, dir, action string) (string, error) {
	d, err := stateDirPath(dir)
	if err != nil {
		return "", err
	}
	path := socketPath(d)
	ctx, cancel := context.WithTimeout(ctx, 12*time.Second)
	defer cancel()
	client := socketClient(path)
	form := strings.NewReader(url.Values{"action": {action}}.Encode())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://play/do", form)
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		return "", notPlaying(path, action, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4000))
	answer := strings.TrimSpace(string(text))
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(answer)
	}
	return answer, err
}

// doCommand is a command that asks the running instrument for one action.
func doCommand(use, short, long string, action func(args []string) string, args cobra.PositionalArgs) *cobra.Command {
	var dir string
	c := &cobra.Command{Use: use, Short: short, Long: long, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error { return do(cmd.Context(), dir, action(args)) }}
	c.Flags().StringVar(&dir, "state-dir", "", "the instrument's state directory")
	return c
}

func panicCommand() *cobra.Command {
	return doCommand("panic", "Silence the running instrument and all that it plays, at once",
		"Lets every gate fall, empties every tail, and ends every note on every MIDI port.\nWhat the cluster does is not heard after that until \"resume\" or another scene.",
		func([]string) string { return actPanic }, cobra.NoArgs)
}

func resumeCommand() *cobra.Command {
	return doCommand("resume", "Let the cluster be heard again after a panic",
		"After a panic what the cluster does stays silent, whatever happens there, until this or another scene.",
		func([]string) string { return actResume }, cobra.NoArgs)
}

func plugCommand() *cobra.Command {
	c := doCommand("plug OUTPUT INPUT", "Put a cable into the running instrument's rack",
		"Puts a cable from an output to an input, each kind/name/jack, while it plays.",
		func(args []string) string { return actPlug + ":" + args[0] + "->" + args[1] }, cobra.ExactArgs(2))
	c.Example = "  k8s-synth plug deployment/web/pods service/web/selector"
	return c
}

func pullCommand() *cobra.Command {
	c := doCommand("pull INPUT", "Take the cable out of an input of the running instrument's rack",
		"Takes out the cable that an input, kind/name/jack, holds. \"undo\" of any surface puts it back.",
		func(args []string) string { return actPull + ":" + args[0] }, cobra.ExactArgs(1))
	c.Example = "  k8s-synth pull service/web/selector"
	return c
}
