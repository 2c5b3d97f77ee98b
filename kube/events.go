package kube

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8s-synth/k8s-synth/kube/eno"
)

const (
	// Reasons of our Events on the topology's ConfigMap.
	reasonInvalid = "InvalidTopology"
	reasonAdopted = "Adopted"
	// maxNotes bounds the Events that wait; one that finds no room is left out.
	maxNotes = 32
	// maxEventMessage is what the API takes, in bytes.
	maxEventMessage = 1024
)

// note is an Event to be.
type note struct {
	about                 corev1.ObjectReference
	severity, reason, msg string
}

// note asks for an Event on a ConfigMap of ours. It never blocks.
func (p *Publisher) note(cm *corev1.ConfigMap, severity, reason, message string) {
	n := note{corev1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: cm.Namespace, Name: cm.Name, UID: cm.UID}, severity, reason, message}
	select {
	case p.notes <- n:
	default:
		p.log.Warn("an event is left out: too many wait", "reason", reason)
	}
}

// record writes Events while the API answers.
func (p *Publisher) record(ctx context.Context, conn *Conn) {
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-p.notes:
			callCtx, cancel := context.WithTimeout(ctx, callTimeout)
			if err := writeEvent(callCtx, conn, n, time.Now()); err != nil && ctx.Err() == nil {
				p.log.Warn("an event was not written", "reason", err)
			}
			cancel()
		}
	}
}

// writeEvent writes an Event, or counts up the one that says the same.
func writeEvent(ctx context.Context, conn *Conn, n note, at time.Time) error {
	if len(n.msg) > maxEventMessage {
		n.msg = strings.ToValidUTF8(n.msg[:maxEventMessage-3], "") + "..."
	}
	events := conn.core.Events(n.about.Namespace)
	// What says the same of the same object has the same name.
	name := n.about.Name + "." + hashOf(string(n.about.UID) + n.reason + n.msg)[:16]
	now := metav1.NewTime(at)
	_, err := events.Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: name, Namespace: n.about.Namespace, Labels: map[string]string{eno.ManagedByLabel: eno.ManagedBy}},
		InvolvedObject: n.about, Type: n.severity, Reason: n.reason, Message: n.msg,
		Source: corev1.EventSource{Component: FieldManager}, ReportingController: FieldManager,
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{FieldManager: FieldManager})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	for range 3 {
		var e *corev1.Event
		if e, err = events.Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		if err := ours(e, "event"); err != nil {
			return err
		}
		e.Count++
		e.LastTimestamp = now
		if _, err = events.Update(ctx, e, metav1.UpdateOptions{FieldManager: FieldManager}); !apierrors.IsConflict(err) {
			return err
		}
	}
	return err
}
