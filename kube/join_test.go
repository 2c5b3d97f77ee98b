package kube

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/k8s-synth/k8s-synth/mapping"
)

func aService(name string, revision int) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "n", UID: types.UID("uid-" + name), ResourceVersion: strconv.Itoa(revision)}}
}

// aSlice makes an EndpointSlice; a pod whose name begins with "!" is not ready.
func aSlice(name, service string, revision int, pods ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "n", UID: types.UID("uid-" + name), ResourceVersion: strconv.Itoa(revision), Labels: map[string]string{discoveryv1.LabelServiceName: service}}}
	for _, pod := range pods {
		pod, asleep := strings.CutPrefix(pod, "!")
		ready := !asleep
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: pod}})
	}
	return s
}

func TestEndpointsKeepTheirPlaces(t *testing.T) {
	var r recorder
	tr := newTracker(time.Hour, time.Now, r.tell)
	j := newServices(tr)
	svc, sl := &serviceSink{j, "n"}, &sliceSink{j, "n"}
	now := time.Now()
	// The slice comes before its Service.
	sl.put(aSlice("web-1", "web", 5, "a", "b", "c"), now)
	svc.put(aService("web", 4), now)
	sl.put(aSlice("web-1", "web", 6, "a", "!b", "c"), now)
	sl.put(aSlice("web-1", "web", 7, "a", "!b", "c", "d"), now) // d takes the place of b
	sl.put(aSlice("web-1", "web", 8, "b", "a", "c", "d"), now)  // b comes back, at the end
	sl.put(aSlice("web-1", "web", 7, "x"), now)                 // the past
	sl.put(aSlice("web-2", "web", 9, "e"), now)
	sl.remove(aSlice("web-1", "web", 10), Stamp{Time: now, Revision: 10})
	sl.put(aSlice("web-2", "other", 11, "e"), now) // another label
	svc.remove(aService("web", 12), Stamp{Time: now, Revision: 12})
	svc.put(func() *corev1.Service { s := aService("web", 13); s.UID = "again"; return s }(), now)
	tr.sync()
	want := []string{"a,b,c", "a,-,c", "a,d,c", "a,d,c,b", "a,d,c,b,e", "-,-,-,-,e", ""}
	if got := r.of("web", mapping.FieldEndpoints); !reflect.DeepEqual(got, want) {
		t.Errorf("endpoints went\n%q, want\n%q", got, want)
	}
	if got, want := r.of("web", mapping.FieldExists), []string{"true", "", "true"}; !reflect.DeepEqual(got, want) {
		t.Errorf("existence went %q, want %q", got, want)
	}
	replay(t, map[mapping.Object]map[string]string{}, r.all())
}

func TestManyEndpointsAreToldUpToALimit(t *testing.T) {
	var r recorder
	tr := newTracker(time.Hour, time.Now, r.tell)
	j := newServices(tr)
	var pods []string
	for i := range 100 {
		pods = append(pods, fmt.Sprintf("p%02d", i))
	}
	(&serviceSink{j, "n"}).put(aService("web", 1), time.Now())
	sl := &sliceSink{j, "n"}
	sl.put(aSlice("s", "web", 2, pods...), time.Now())
	tr.sync()
	if got := strings.Count(r.lastOf("web", mapping.FieldEndpoints), ",") + 1; got != MaxEndpoints {
		t.Errorf("%d endpoints of 100 are told, want %d", got, MaxEndpoints)
	}
	// One that had no place takes the one that becomes free.
	sl.put(aSlice("s", "web", 3, append([]string{"!p00"}, pods[1:]...)...), time.Now())
	tr.sync()
	if got := r.lastOf("web", mapping.FieldEndpoints); !strings.HasPrefix(got, "p64,p01,") {
		t.Errorf("the first place went to %.12s…, want p64", got)
	}
}

// TestServicesAgainstAModel changes Services and slices at random, each stream
// in its own order but the two not in one, with relists between, and finds the
// model's state at the end and every place kept.
func TestServicesAgainstAModel(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 11))
		var r recorder
		tr := newTracker(time.Hour, time.Now, r.tell)
		j := newServices(tr)
		svc, sl := &serviceSink{j, "n"}, &sliceSink{j, "n"}
		services := map[string]*corev1.Service{}
		slicesOf := map[string]*discoveryv1.EndpointSlice{}
		var first, second []func() // what each of the two watches still has to tell
		revision := 0
		for range 400 {
			revision++
			now := time.Now()
			name := fmt.Sprint("s", rnd.IntN(3))
			switch rnd.IntN(8) {
			case 0:
				if s := services[name]; s != nil {
					delete(services, name)
					at := Stamp{Time: now, Revision: int64(revision)}
					first = append(first, func() { svc.remove(s, at) })
				} else {
					s := aService(name, revision)
					s.UID = types.UID(fmt.Sprint(name, "-", revision))
					services[name] = s
					first = append(first, func() { svc.put(s, now) })
				}
			case 1:
				slice := fmt.Sprint(name, "-", rnd.IntN(2))
				if s := slicesOf[slice]; s != nil {
					delete(slicesOf, slice)
					at := Stamp{Time: now, Revision: int64(revision)}
					second = append(second, func() { sl.remove(s, at) })
				}
			default:
				slice := fmt.Sprint(name, "-", rnd.IntN(2))
				var pods []string
				for range rnd.IntN(5) {
					pod := fmt.Sprint("p", rnd.IntN(6))
					if rnd.IntN(3) == 0 {
						pod = "!" + pod
					}
					pods = append(pods, pod)
				}
				s := aSlice(slice, name, revision, pods...)
				slicesOf[slice] = s
				second = append(second, func() { sl.put(s, now) })
			}
			for range rnd.IntN(3) {
				if rnd.IntN(2) == 0 && len(first) > 0 {
					first[0]()
					first = first[1:]
				} else if len(second) > 0 {
					second[0]()
					second = second[1:]
				}
			}
			at := Stamp{Time: now, Revision: int64(revision)}
			switch rnd.IntN(40) {
			case 0:
				first = nil
				var list []any
				for _, s := range services {
					list = append(list, s)
				}
				svc.replace(list, at)
			case 1:
				second = nil
				var list []any
				for _, s := range slicesOf {
					list = append(list, s)
				}
				sl.replace(list, at)
			}
		}
		for _, do := range append(first, second...) {
			do()
		}
		tr.sync()
		state := map[mapping.Object]map[string]string{}
		replay(t, state, r.all())
		got := map[string][]string{}
		for o, fields := range state {
			got[o.UID] = []string{}
			for pod := range strings.SplitSeq(fields[mapping.FieldEndpoints], ",") {
				if pod != "" && pod != "-" {
					got[o.UID] = append(got[o.UID], pod)
				}
			}
			slices.Sort(got[o.UID])
		}
		want := map[string][]string{}
		for name, s := range services {
			pods := []string{}
			for _, slice := range slicesOf {
				if slice.Labels[discoveryv1.LabelServiceName] == name {
					for _, e := range slice.Endpoints {
						if *e.Conditions.Ready && !slices.Contains(pods, e.TargetRef.Name) {
							pods = append(pods, e.TargetRef.Name)
						}
					}
				}
			}
			slices.Sort(pods)
			want[string(s.UID)] = pods
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: the transitions lead to\n%v\nwant\n%v", seed, got, want)
		}
		for _, x := range r.all() {
			if x.Field != mapping.FieldEndpoints {
				continue
			}
			before, after := strings.Split(x.Old, ","), strings.Split(x.New, ",")
			for i, pod := range before {
				if k := slices.Index(after, pod); pod != "" && pod != "-" && k >= 0 && k != i {
					t.Fatalf("seed %d: %s moved from place %d to %d: %q to %q", seed, pod, i, k, x.Old, x.New)
				}
			}
			if strings.HasSuffix(x.New, "-") {
				t.Fatalf("seed %d: an empty place at the end: %q", seed, x.New)
			}
		}
	}
}

func aQuota(namespace, name string, revision int, hard, used string) *corev1.ResourceQuota {
	return &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, ResourceVersion: strconv.Itoa(revision)},
		Status: corev1.ResourceQuotaStatus{Hard: corev1.ResourceList{"pods": resource.MustParse(hard)}, Used: corev1.ResourceList{"pods": resource.MustParse(used)}}}
}

func TestNamespacesWithTheirQuotas(t *testing.T) {
	var r recorder
	tr := newTracker(time.Hour, time.Now, r.tell)
	j := newNamespaces(tr)
	ns, q := &namespaceSink{j, "n"}, &quotaSink{j, "n"}
	now := time.Now()
	space := func(revision int) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n", ResourceVersion: strconv.Itoa(revision)}}
	}
	q.replace([]any{aQuota("n", "q", 5, "10", "5")}, Stamp{Time: now, Revision: 5})
	if len(r.all()) != 0 {
		t.Error("a namespace that nobody saw is told")
	}
	ns.replace([]any{space(3)}, Stamp{Time: now, Revision: 6})
	q.put(aQuota("n", "r", 7, "4", "3"), now)
	q.put(aQuota("n", "q", 8, "10", "9"), now)
	q.put(aQuota("n", "q", 6, "10", "0"), now) // the past
	q.remove(aQuota("n", "q", 9, "10", "9"), Stamp{Time: now, Revision: 9})
	// The namespace's end comes before that of its last quota.
	ns.remove(space(11), Stamp{Time: now, Revision: 11})
	q.remove(aQuota("n", "r", 10, "4", "3"), Stamp{Time: now, Revision: 10})
	tr.sync()
	if got, want := r.of("n", mapping.FieldHeadroom), []string{"0.5", "0.25", "0.1", "0.25"}; !reflect.DeepEqual(got, want) {
		t.Errorf("headroom went %q, want %q", got, want)
	}
	if got, want := r.of("n", mapping.FieldExists), []string{"true", ""}; !reflect.DeepEqual(got, want) {
		t.Errorf("existence went %q, want %q", got, want)
	}
	if len(j.known) != 0 {
		t.Errorf("%d namespaces are kept that are gone", len(j.known))
	}
	// Where namespaces may not be read, a quota is one's sign.
	j.setBlind(true, Stamp{Time: now})
	q.put(aQuota("n", "q", 20, "10", "2"), now)
	tr.sync()
	if got := r.lastOf("n", mapping.FieldHeadroom); got != "0.8" {
		t.Errorf("headroom %q of a namespace that may not be read, want 0.8", got)
	}
	j.setBlind(false, Stamp{Time: now})
	if got := r.lastOf("n", mapping.FieldExists); got != "" {
		t.Error("a namespace that is not there is told once namespaces may be read")
	}
	replay(t, map[mapping.Object]map[string]string{}, r.all())
}
