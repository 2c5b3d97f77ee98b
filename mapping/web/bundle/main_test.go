package main

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
)

// What is committed is what the sources make, and the page is small.
func TestBundleIsUpToDate(t *testing.T) {
	files, err := bundle("../page")
	if err != nil {
		t.Fatal(err)
	}
	there, err := os.ReadDir("../dist")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range there {
		if files[f.Name()] == nil {
			t.Errorf("dist/%s is made of nothing; delete it", f.Name())
		}
	}
	total, small := 0, 0
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("../dist", name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("dist/%s is not what page makes: run go generate ./mapping/web (%v)", name, err)
		}
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(want)
		z.Close()
		total, small = total+len(want), small+b.Len()
	}
	t.Logf("the page has %d bytes, %d compressed", total, small)
	if total > 300_000 {
		t.Errorf("the page has %d bytes, want 300 kB at most", total)
	}
}
