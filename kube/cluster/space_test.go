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

// TestStoreThatIsFilledAsFastAsItIsCleared says what to do to somebody who
// fills what was cleared before the next look at the store, and that it is over
// once there is room.
func TestStoreThatIsFilledAsFastAsItIsCleared(t *testing.T) {
	const quota = 8 << 20
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s, err := startEtcd(ctx, t.TempDir(), quota, false, slog.New(slog.DiscardHandler), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	said := make(chan string, 1000)
	log := slog.New(slog.NewTextHandler(lines(said), nil))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { s.keepSpace(ctx, log) })

	// A quarter of what is written before it is first full is old at once, so
	// that the first clearing makes room and the next one does not.
	value := []byte(strings.Repeat("x", 100<<10))
	put := func(key string) bool {
		_, err := s.etcd.Server.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: value})
		s.etcd.Server.Backend().ForceCommit() // what counts is the size of the last commit
		return err == nil
	}
	heard := func(text string) bool {
		for {
			select {
			case line := <-said:
				if strings.Contains(line, text) {
					return true
				}
			default:
				return false
			}
		}
	}
	taken, refused := 0, 0
	for !heard("delete objects that are not needed") {
		if ctx.Err() != nil {
			t.Fatalf("%d writes taken, %d refused: the log does not say what to do", taken, refused)
		}
		key := "old"
		if taken%4 > 0 || refused > 0 {
			key = fmt.Sprint("key-", taken)
		}
		if put(key) {
			taken++
			continue
		}
		refused++
		time.Sleep(time.Millisecond)
	}
	if !s.full() || put("small") {
		t.Error("the log says that the store is full, and it takes writes")
	}
	if _, err := s.etcd.Server.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("key-"), RangeEnd: []byte("key.")}); err != nil {
		t.Fatalf("deletion while it is full: %v", err)
	}
	if err := poll(ctx, 10*time.Millisecond, func() bool { return heard("has space again") }); err != nil {
		t.Fatal("all is deleted, and the log does not say that there is space again")
	}
	if !put("small") {
		t.Error("the log says that there is space again, and a write is refused")
	}
}

// lines sends each line that is logged.
type lines chan<- string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}
