package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	// FieldManager is the name under which all our writes are made.
	FieldManager = "k8s-synth"
	// heartbeatName is the Lease that the heartbeat renews.
	heartbeatName = "k8s-synth-heartbeat"
	// callTimeout bounds each single call, so that a session's end is never
	// far away.
	callTimeout = 2 * time.Second
)

// heartbeat makes one real write to the store in each period and tells its
// latency and revision. Where nothing may be written it reads.
func (o *Observer) heartbeat(ctx context.Context, conn *Conn) {
	beat := o.renewLease
	if o.ListenOnly {
		beat = o.readRevision
	}
	var said string
	var missing time.Time // since when
	told := false
	ticker := time.NewTicker(o.Heartbeat)
	defer ticker.Stop()
	for {
		revision, latency, err := beat(ctx, conn)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			if told {
				o.Log.Info("the heartbeat is back")
			}
			said, missing, told = "", time.Time{}, false
			o.beaten(revision, latency)
		default:
			if missing.IsZero() {
				missing = time.Now()
			}
			if err.Error() != said {
				said = err.Error()
				o.Log.Info("no heartbeat", "reason", err)
			}
			// A namespace that is being made, or a server that starts, fails
			// for a moment; a store that is full does not.
			if !told && time.Since(missing) > o.patience.failing {
				told = true
				o.Problem(mapping.KindEtcd, fmt.Sprintf("no heartbeat for %v: %v", time.Since(missing).Round(time.Second), err))
			}
		}
		if apierrors.IsForbidden(err) {
			beat = o.readRevision
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (o *Observer) renewLease(ctx context.Context, conn *Conn) (revision int64, latency time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	leases := conn.coordination.Leases(o.Namespace)
	// The label is a precondition: where the object is another's, the test
	// fails and nothing is written.
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/labels/app.kubernetes.io~1managed-by", "value": eno.ManagedBy},
		{"op": "add", "path": "/spec/renewTime", "value": metav1.NewMicroTime(time.Now())},
	})
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	lease, err := leases.Patch(ctx, heartbeatName, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
	if apierrors.IsNotFound(err) {
		now, holder := metav1.NewMicroTime(time.Now()), FieldManager
		begin = time.Now()
		lease, err = leases.Create(ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: heartbeatName, Labels: map[string]string{eno.ManagedByLabel: eno.ManagedBy}},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &now},
		}, metav1.CreateOptions{FieldManager: FieldManager})
	}
	latency = time.Since(begin)
	if err != nil {
		return 0, 0, fmt.Errorf("renewing lease %s/%s: %w", o.Namespace, heartbeatName, err)
	}
	return revisionOf(lease), latency, nil
}

// readRevision lists at most one pod with a quorum read: the list's revision is
// the store's.
func (o *Observer) readRevision(ctx context.Context, conn *Conn) (revision int64, latency time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	begin := time.Now()
	list, err := conn.core.Pods(o.Namespace).List(ctx, metav1.ListOptions{Limit: 1})
	latency = time.Since(begin)
	if err != nil {
		return 0, 0, fmt.Errorf("reading the store's revision: %w", err)
	}
	revision, err = strconv.ParseInt(list.ResourceVersion, 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("revision %q is not a number: %w", list.ResourceVersion, err)
	}
	return revision, latency, nil
}
