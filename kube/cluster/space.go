package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"k8s.io/apimachinery/pkg/api/resource"
)

// DefaultStoreQuota is the largest size of the store's file in bytes, etcd's
// own default.
const DefaultStoreQuota = 2 << 30

// MinStoreQuota is the least quota that leaves room for an empty cluster.
const MinStoreQuota = 16 << 20

const (
	// spaceInterval is how often the size of the store is looked at; that
	// costs nothing.
	spaceInterval = 500 * time.Millisecond
	// At spaceTight of its quota the store is cleared of old revisions, at
	// most every spaceRest; below spaceEnough the alarm is taken back.
	spaceTight  = 0.8
	spaceEnough = 0.9
	spaceRest   = 30 * time.Second
	// spaceGain is what a defragmentation must bring, of the quota, before
	// the store is full.
	spaceGain = 0.1
	// spaceRetry is the rest between attempts while the store is full.
	spaceRetry = 2 * time.Second
)

// keepSpace looks after the store's file until ctx ends. etcd only ever lets
// it grow, and refuses all writes once it has reached the quota, until
// somebody has compacted and defragmented it and taken back the alarm. That is
// us: before it comes to that, and when it has.
func (s *store) keepSpace(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(spaceInterval)
	defer tick.Stop()
	var full, told bool // told: what to do, since it is full
	var last time.Time
	var revision int64
	attributes := func() []any {
		return []any{"size", bytesString(s.size()), "quota", bytesString(s.quota)}
	}
	tell := func() {
		if !told {
			told = true
			log.Error("the store is full of what is in use: delete objects that are not needed (kubectl delete works while it is full), or start again with a larger --store-quota", attributes()...)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		alarm := s.full()
		if alarm && !full {
			log.Warn("the store is full: the API refuses writes and still answers reads; clearing it of old revisions", attributes()...)
			last, revision, told = time.Time{}, 0, false
		}
		if full && !alarm {
			log.Warn("the store has space again: the API takes writes", attributes()...)
		}
		full = alarm
		rest := spaceRest
		if full {
			rest = spaceRetry
		} else if float64(s.size()) < spaceTight*float64(s.quota) {
			continue
		}
		if time.Since(last) < rest {
			continue
		}
		// Without a new revision there is nothing new to clear.
		if s.etcd.Server.KV().Rev() != revision {
			last = time.Now()
			if err := s.reclaim(ctx); err != nil {
				if ctx.Err() == nil {
					log.Warn("the store could not be cleared", "error", err)
				}
				continue
			}
			revision = s.etcd.Server.KV().Rev()
		} else if full {
			// The alarm is back at once: what somebody writes is larger than
			// what is left.
			last = time.Now()
			tell()
		}
		if !full {
			continue
		}
		// Who writes all the time can fill what was cleared before the next
		// look, so the alarm need not have been seen to go in between.
		if float64(s.size()) >= spaceEnough*float64(s.quota) {
			tell()
			continue
		}
		if err := s.disarm(ctx); err != nil {
			log.Warn("the store's alarm could not be taken back", "error", err)
			revision = 0
		}
	}
}

// ErrStoreFull says that nothing can be written until there is more room.
var ErrStoreFull = errors.New("the store is full of what is in use; start with a larger --store-quota, then delete what is not needed")

// makeRoom clears a store that was full when its last process ended, before
// anybody writes. The error is ErrStoreFull where that does not suffice.
func (s *store) makeRoom(ctx context.Context) error {
	if !s.full() {
		return nil
	}
	if err := s.reclaim(ctx); err != nil {
		return err
	}
	if float64(s.size()) >= spaceEnough*float64(s.quota) {
		return fmt.Errorf("%w (its size is %s of %s)", ErrStoreFull, bytesString(s.size()), bytesString(s.quota))
	}
	return s.disarm(ctx)
}

// full tells whether etcd's alarm for want of space is set.
func (s *store) full() bool {
	return slices.ContainsFunc(s.etcd.Server.Alarms(), func(a *pb.AlarmMember) bool { return a.Alarm == pb.AlarmType_NOSPACE })
}

// size is that of the store's file in bytes, which is what counts for the
// quota.
func (s *store) size() int64 { return s.etcd.Server.Backend().Size() }

// reclaim drops all revisions but the latest, and gives the space back. Who
// watches from an older revision is told to list again. Reads and writes wait
// for the second half: about a second for 100 MB.
func (s *store) reclaim(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	server := s.etcd.Server
	rev := server.KV().Rev()
	if rev > server.KV().FirstRev() {
		if _, err := server.Compact(ctx, &pb.CompactionRequest{Revision: rev, Physical: true}); err != nil {
			return fmt.Errorf("compact the store to revision %d: %w", rev, err)
		}
	}
	if free := server.Backend().Size() - server.Backend().SizeInUse(); !s.full() && float64(free) < spaceGain*float64(s.quota) {
		return nil
	}
	if err := server.Backend().Defrag(); err != nil {
		return fmt.Errorf("defragment the store: %w", err)
	}
	return nil
}

func (s *store) disarm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := s.etcd.Server.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: uint64(s.etcd.Server.MemberID()), Alarm: pb.AlarmType_NOSPACE})
	return err
}

func bytesString(n int64) string {
	return resource.NewQuantity(n, resource.BinarySI).String()
}
