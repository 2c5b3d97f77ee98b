package kube

import (
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func ingressOf(name, host string, paths ...string) *networkingv1.Ingress {
	i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(int64(len(name)), 0))}}
	rule := networkingv1.IngressRule{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{}}}
	for _, p := range paths {
		kind := networkingv1.PathTypePrefix
		if p[0] == '=' {
			kind, p = networkingv1.PathTypeExact, p[1:]
		}
		rule.HTTP.Paths = append(rule.HTTP.Paths, networkingv1.HTTPIngressPath{Path: p, PathType: &kind, Backend: networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: name + ":" + p, Port: networkingv1.ServiceBackendPort{Number: 80}},
		}})
	}
	i.Spec.Rules = []networkingv1.IngressRule{rule}
	return i
}

// TestMatch follows the tables of Kubernetes' documentation of Ingress: path
// types, multiple matches, wildcard hosts.
func TestMatch(t *testing.T) {
	fallback := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "fallback"}}
	fallback.Spec.DefaultBackend = &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "default"}}
	a := []*networkingv1.Ingress{ingressOf("a", "a.local", "/", "/aaa", "/aaa/bbb", "=/foo", "/foo/")}
	prefix := []*networkingv1.Ingress{ingressOf("p", "", "/aaa/bb", "/foo/")}
	exact := []*networkingv1.Ingress{ingressOf("e", "", "=/foo", "=/bar/")}
	hosts := []*networkingv1.Ingress{ingressOf("any", "", "/"), ingressOf("wild", "*.foo.com", "/"), ingressOf("exact", "bar.foo.com", "/only")}
	for _, test := range []struct {
		in         []*networkingv1.Ingress
		host, path string
		want       string
	}{
		{a, "a.local", "/ccc", "a:/"},
		{a, "a.local", "/aaa/ccc", "a:/aaa"},
		{a, "a.local", "/aaa/bbb/", "a:/aaa/bbb"},
		{a, "A.LOCAL:8080", "/aaabbb", "a:/"},
		{a, "a.local", "/foo", "a:/foo"},
		{a, "a.local", "/foo/x", "a:/foo/"},
		{a, "b.local", "/", ""},
		{prefix, "x", "/aaa/bbb", ""},
		{prefix, "x", "/aaa/bb/c", "p:/aaa/bb"},
		{prefix, "x", "/foo", "p:/foo/"},
		{prefix, "x", "/", ""},
		{exact, "x", "/foo", "e:/foo"},
		{exact, "x", "/foo/", ""},
		{exact, "x", "/bar", ""},
		{exact, "x", "/bar/", "e:/bar/"},
		{hosts, "bar.foo.com", "/only/x", "exact:/only"},
		{hosts, "bar.foo.com", "/", ""}, // the host is served, the path is not
		{hosts, "baz.foo.com", "/x", "wild:/"},
		{hosts, "baz.bar.foo.com", "/", "any:/"},
		{hosts, "foo.com", "/", "any:/"},
		{append(hosts[2:3:3], fallback), "bar.foo.com", "/", "default"},
		{nil, "x", "/", ""},
	} {
		rule, to := match(test.in, test.host, test.path)
		if to.service != test.want || (rule == nil) != (test.want == "") {
			t.Errorf("%s%s goes to %q, want %q", test.host, test.path, to.service, test.want)
		}
	}
}
