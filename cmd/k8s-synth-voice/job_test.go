package main

import (
	"context"
	"testing"
	"time"
)

func TestJobTakesItsTime(t *testing.T) {
	began := time.Now()
	if code, err := job(context.Background(), []string{"--for", "150ms"}); code != 0 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
	if took := time.Since(began); took < 150*time.Millisecond || took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if code, err := job(ctx, []string{"--for", "1h"}); code != 143 || err == nil {
		t.Errorf("one that a signal ended: exit code %d, %v", code, err)
	}
	for _, bad := range [][]string{{"--for", "-1s"}, {"--for", "1s", "more"}, {"--for", "soon"}} {
		if code, _ := job(context.Background(), bad); code != 2 {
			t.Errorf("%v: exit code %d", bad, code)
		}
	}
}
