package kube

import (
	"context"
	"fmt"
	"time"

	apiv1 "github.com/Azure/eno/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/k8s-synth/k8s-synth/kube/eno"
)

const (
	// foreignEvery is how often what is in the way is looked at again.
	foreignEvery = 10 * time.Second
	// freeFor is how long a name counts as ours: somebody may delete our object
	// and make another in its place.
	freeFor = time.Minute
)

// foreign tells the player of objects that are somebody else's and have the
// names of modules. Eno is told with each object to leave them alone; this says
// why the module does nothing, and has Eno make its object once the other is
// gone. A name is looked at when it first comes into a topology and now and then
// after that; while something is in the way, more often.
func (p *Publisher) foreign(ctx context.Context, conn *Conn) {
	h := &Hand{namespace: p.observer.Namespace, dynamic: conn.dynamic}
	type look struct {
		taken bool
		at    time.Time
	}
	looked := map[string]look{}
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.placed:
		case <-again:
		}
		again = time.After(freeFor)
		p.mu.Lock()
		t := p.base
		p.mu.Unlock()
		if t == nil {
			continue
		}
		objects, err := eno.Objects(*t)
		if err != nil {
			continue // Eno tells it
		}
		wanted := map[string]bool{}
		freed := false
		for _, o := range objects {
			like := &unstructured.Unstructured{}
			like.SetGroupVersionKind(o.GetObjectKind().GroupVersionKind())
			like.SetNamespace(o.GetNamespace())
			like.SetName(o.GetName())
			key := keyOf(like)
			wanted[key] = true
			was := looked[key]
			if !was.taken && !was.at.IsZero() && time.Since(was.at) < freeFor/2 {
				continue
			}
			callCtx, cancel := context.WithTimeout(ctx, callTimeout)
			live, err := h.get(callCtx, like)
			cancel()
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				p.log.Debug("what is in the way was not looked for", "object", nameOf(like), "reason", err)
				again = time.After(foreignEvery)
				continue
			case live != nil && ours(live, like.GetKind()) != nil:
				again = time.After(foreignEvery)
				if looked[key] = (look{true, time.Now()}); !was.taken {
					p.observer.Problem(o.GetLabels()[eno.ModuleLabel], fmt.Sprintf("%v; the module has nothing in the cluster until it has another name, or that is gone", ours(live, like.GetKind())))
				}
				continue
			}
			looked[key] = look{false, time.Now()}
			freed = freed || was.taken
		}
		for key := range looked {
			if !wanted[key] {
				delete(looked, key)
			}
		}
		if freed {
			p.log.Info("what was in the way is gone; Eno is asked to make the module's object")
			if err := p.synthesizeAnew(ctx, conn); err != nil && ctx.Err() == nil {
				p.observer.Problem("composition/"+eno.CompositionName, err.Error())
			}
		}
		// A knob that turns publishes ten topologies a second with the same names.
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// synthesizeAnew asks Eno for another synthesis of what it has done.
func (p *Publisher) synthesizeAnew(ctx context.Context, conn *Conn) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := conn.dynamic.Resource(apiv1.SchemeGroupVersion.WithResource("compositions")).Namespace(p.observer.Namespace).Get(ctx, eno.CompositionName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil // it will be made, and all with it
	case err != nil:
		return fmt.Errorf("asking for another synthesis: %w", err)
	}
	uuid, _, _ := unstructured.NestedString(c.Object, "status", "currentSynthesis", "uuid")
	if uuid == "" {
		return nil
	}
	if err := p.synthesizeAgain(ctx, conn, uuid); err != nil {
		return fmt.Errorf("asking for another synthesis: %w", err)
	}
	return nil
}
