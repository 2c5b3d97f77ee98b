// Command k8s-synth-images packs built programs into container images, one tar
// file each, and needs no container engine for it. "make images" builds the
// programs and calls it.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/kube/images"
)

func main() {
	if err := command().Execute(); err != nil {
		fmt.Fprintf(os.Stderr, "k8s-synth-images: %v\n", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var bin, out string
	c := &cobra.Command{
		Use:   "k8s-synth-images [IMAGE…]",
		Short: "Pack built programs into container images",
		Long: `Writes the named images, or all, as tar files that "docker load", "podman load",
"ctr images import" and "kind load image-archive" take.`,
		ValidArgs:     images.Names(),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, names []string) error {
			return run(c.OutOrStdout(), bin, out, names)
		},
	}
	c.Flags().StringVar(&bin, "bin", "bin/static", "directory of the static programs")
	c.Flags().StringVar(&out, "out", "bin/images", "directory of the tar files")
	return c
}

func run(w io.Writer, bin, out string, names []string) error {
	if len(names) == 0 {
		names = images.Names()
	}
	var specs []images.Spec
	for _, n := range names {
		s, err := images.Find(n)
		if err != nil {
			return err
		}
		specs = append(specs, s)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "IMAGE\tFILE\tMB\tDIGEST")
	for _, s := range specs {
		image, err := s.Build(bin)
		if err != nil {
			return err
		}
		file := filepath.Join(out, s.Name+".tar")
		if err := images.Write(file, image, images.Reference(s.Name)); err != nil {
			return err
		}
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		digest, err := image.Digest()
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\t%s\t%.1f\t%s\n", images.Reference(s.Name), file, float64(info.Size())/1e6, digest)
	}
	return table.Flush()
}
