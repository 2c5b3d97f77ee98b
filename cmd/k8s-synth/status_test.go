package main

import (
	"os"
	"strings"
	"sync"
	"testing"
)

// TestOneInstrumentADirectory: of many that start at once in one state
// directory one plays, also where a crash has left its socket.
func TestOneInstrumentADirectory(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		var mu sync.Mutex
		var all []*statusServer
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				s, err := listenStatus(dir, &player{})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					all = append(all, s)
				} else if !strings.Contains(err.Error(), "another k8s-synth") {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(all) != 1 {
			t.Fatalf("round %d: %d play", round, len(all))
		}
		all[0].close()
		if err := os.WriteFile(socketPath(dir), nil, 0o600); err != nil { // as a crash leaves it
			t.Fatal(err)
		}
	}
}
