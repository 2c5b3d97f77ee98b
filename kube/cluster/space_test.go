//go:build !race

package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestFullStoreAtStart fills a store, ends it, and starts it again with the
// same quota and with a larger one.
func TestFullStoreAtStart(t *testing.T) {
	const quota = 4 << 20
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	open := func(quota int64) (s *store, stop func()) {
		t.Helper()
		s, err := startEtcd(ctx, dir, quota, false, slog.New(slog.DiscardHandler), false)
		if err != nil {
			t.Fatal(err)
		}
		stop = sync.OnceFunc(s.stop) // etcd ends once
		t.Cleanup(stop)
		return s, stop
	}
	value := []byte(strings.Repeat("x", 200<<10))
	put := func(s *store, key string) error {
		_, err := s.etcd.Server.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: value})
		// The size is that of the last commit, a tenth of a second ago.
		s.etcd.Server.Backend().ForceCommit()
		return err
	}
	fill := func(s *store, key func(int) string) int {
		t.Helper()
		for i := range 200 {
			if err := put(s, key(i)); err != nil {
				if err := poll(ctx, time.Millisecond, s.full); err != nil {
					t.Fatal("a write was refused, and there is no alarm")
				}
				return i
			}
		}
		t.Fatal("200 writes of 200 KiB, and the store is not full")
		return 0
	}

	// Old revisions of one key: there is room once they are cleared.
	s, stop := open(quota)
	fill(s, func(int) string { return "one" })
	if err := s.makeRoom(ctx); err != nil || s.full() {
		t.Errorf("full of old revisions: %v, alarm %v", err, s.full())
	}
	if err := put(s, "two"); err != nil {
		t.Errorf("write once there is room: %v", err)
	}
	// Keys that are all in use: each time there is less to clear.
	n := 0
	for {
		from := n
		n += fill(s, func(i int) string { return fmt.Sprint("key-", from+i) })
		if err := s.makeRoom(ctx); errors.Is(err, ErrStoreFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	stop()

	s, stop = open(quota)
	if err := s.makeRoom(ctx); !errors.Is(err, ErrStoreFull) || !strings.Contains(err.Error(), "4Mi") {
		t.Errorf("the same quota: %v, want ErrStoreFull with the quota", err)
	}
	stop()

	s, _ = open(2 * quota)
	if err := s.makeRoom(ctx); err != nil {
		t.Errorf("twice the quota: %v", err)
	}
	if err := put(s, "three"); err != nil {
		t.Errorf("write with twice the quota: %v", err)
	}
	r, err := s.etcd.Server.Range(ctx, &pb.RangeRequest{Key: []byte("key-"), RangeEnd: []byte("key."), CountOnly: true})
	if err != nil || r.Count < int64(n) {
		t.Errorf("%d keys, %v; want %d", r.GetCount(), err, n)
	}
}
