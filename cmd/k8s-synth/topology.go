package main

import (
	"os"
	"syscall"

	"github.com/spf13/cobra"
)

// topologyCommand is the topology command of k8s-synth-kube, which knows
// Kubernetes; this program does not.
func topologyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "topology", Short: "Validate, synthesize, diff and apply the Kubernetes part of a patch by hand", DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := siblingProgram("k8s-synth-kube")
			if err != nil {
				return err
			}
			// The program takes this process's place where the system can.
			return syscall.Exec(path, append([]string{path, "topology"}, args...), os.Environ())
		},
	}
}
