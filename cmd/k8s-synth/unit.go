package main

import (
	_ "embed"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/mapping/document"
)

//go:embed k8s-synth.service
var unitFile string

// unitCommand prints or installs a systemd unit, so that the instrument also
// runs headless, from login on.
func unitCommand() *cobra.Command {
	var install bool
	c := &cobra.Command{
		Use: "unit", Short: "Print a systemd user unit that runs the instrument as a daemon", Args: cobra.NoArgs,
		Example: `  k8s-synth unit --install
  systemctl --user daemon-reload
  systemctl --user enable --now k8s-synth`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("where this program lies: %w", err)
			}
			text := strings.ReplaceAll(unitFile, "@PROGRAM@", systemdQuote(self))
			if !install {
				fmt.Fprint(cmd.OutOrStdout(), text)
				return nil
			}
			config, err := os.UserConfigDir()
			if err != nil {
				return fmt.Errorf("where units are kept: %w", err)
			}
			dir := filepath.Join(config, "systemd", "user")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("install: %w", err)
			}
			path := filepath.Join(dir, "k8s-synth.service")
			if err := writeWhole(path, document.Bytes([]byte(text))); err != nil {
				return fmt.Errorf("install: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "wrote %s\nnow: systemctl --user daemon-reload && systemctl --user enable --now k8s-synth\n", path)
			return nil
		},
	}
	c.Flags().BoolVar(&install, "install", false, "write it to the user's units instead")
	return c
}

// systemdQuote writes a path as systemd reads it in a command line.
func systemdQuote(s string) string {
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, `$`, `$$`).Replace(s)
	return `"` + s + `"`
}

// notifySystemd tells systemd how far the daemon is, where it runs under it
// (sd_notify, systemd's documented protocol: one datagram).
func notifySystemd(state string) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	if c, err := net.Dial("unixgram", name); err == nil {
		_, _ = c.Write([]byte(state))
		_ = c.Close()
	}
}
