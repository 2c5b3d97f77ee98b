package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestNothingIsInherited: what a library has open is not open in a program that
// is started.
func TestNothingIsInherited(t *testing.T) {
	var p [2]int
	if err := syscall.Pipe(p[:]); err != nil { // as C code does: for children too
		t.Fatal(err)
	}
	defer syscall.Close(p[0])
	defer syscall.Close(p[1])
	given, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer given.Close()
	var out strings.Builder
	c := exec.Command("/bin/sh", "-c", "for f in 0 1 2 3 4 5 6 7 8 9; do if true <&$f; then echo $f; fi; done 2>/dev/null")
	c.Stdout, c.ExtraFiles = &out, []*os.File{given}
	if err := startAlone(c.Start); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(strings.Fields(out.String()), " "); got != "0 1 2 3" {
		t.Errorf("the files %s are open in a child, want 0 1 2 3", got)
	}
}
