package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/emicklei/go-restful/v3"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/sets"
	genericapi "k8s.io/apiserver/pkg/endpoints"
	genericfilters "k8s.io/apiserver/pkg/endpoints/filters"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/client-go/kubernetes"
	clientrest "k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	"k8s.io/metrics/pkg/apis/metrics"
	metricsinstall "k8s.io/metrics/pkg/apis/metrics/install"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

const (
	// managedByLabel and managedBy mark what is ours.
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "k8s-synth"

	metricsService = "k8s-synth-metrics"
	metricsAPI     = "v1beta1.metrics.k8s.io"
	// metricsHost is the name by which the API server knows the certificate.
	metricsHost = metricsService + "." + metav1.NamespaceSystem + ".svc"
	// metricsAge is after how long an unfinished request of the API server,
	// its only client, is given up.
	metricsAge = 10 * time.Second
)

// startMetricsAPI serves metrics.k8s.io/v1beta1 on the listener until ctx
// ends. Only who has the API server's proxy certificate is served; the API
// server has asked who the user is, and what they may, before.
func startMetricsAPI(ctx context.Context, l net.Listener, c *credentials, u *usageSimulation, log *slog.Logger) error {
	handler, err := metricsHandler(u)
	if err != nil {
		return fmt.Errorf("metrics API: %w", err)
	}
	cert, err := tls.LoadX509KeyPair(c.metricsCertFile, c.metricsKeyFile)
	if err != nil {
		return fmt.Errorf("metrics API: %w", err)
	}
	ca, err := os.ReadFile(c.proxyCAFile)
	if err != nil {
		return fmt.Errorf("metrics API: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return fmt.Errorf("metrics API: %s: expected a certificate; remove it to have a new one made", c.proxyCAFile)
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: metricsAge,
		IdleTimeout:       5 * time.Minute,
		TLSConfig: &tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: []tls.Certificate{cert},
			// The authority signs one certificate only.
			ClientAuth: tls.RequireAndVerifyClientCert,
			ClientCAs:  pool,
		},
		// Who knocks without the certificate is nobody's trouble.
		ErrorLog: slog.NewLogLogger(log.With("component", "metrics").Handler(), slog.LevelDebug),
	}
	go func() {
		if err := server.ServeTLS(l, "", ""); err != nil && !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics API ended", "error", err)
		}
	}()
	context.AfterFunc(ctx, func() { server.Close() })
	return nil
}

// metricsHandler is the API: discovery, and nodes and pods to get and list.
func metricsHandler(u *usageSimulation) (http.Handler, error) {
	scheme := runtime.NewScheme()
	metricsinstall.Install(scheme)
	v1 := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(scheme, v1)
	scheme.AddUnversionedTypes(v1, &metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	group := &genericapi.APIGroupVersion{
		Storage: map[string]rest.Storage{
			"nodes": nodeMetrics{usageTable{u, metrics.Resource("nodes")}},
			"pods":  podMetrics{usageTable{u, metrics.Resource("pods")}},
		},
		Root:                       "/apis",
		GroupVersion:               metricsv1beta1.SchemeGroupVersion,
		OptionsExternalVersion:     &v1,
		Serializer:                 serializer.NewCodecFactory(scheme),
		ParameterCodec:             runtime.NewParameterCodec(scheme),
		Typer:                      scheme,
		Creater:                    scheme,
		Convertor:                  scheme,
		ConvertabilityChecker:      scheme,
		UnsafeConvertor:            runtime.UnsafeObjectConvertor(scheme),
		Defaulter:                  scheme,
		TypeConverter:              managedfields.NewDeducedTypeConverter(),
		Namer:                      runtime.Namer(meta.NewAccessor()),
		EquivalentResourceRegistry: runtime.NewEquivalentResourceRegistry(),
		MinRequestTimeout:          metricsAge,
	}
	container := restful.NewContainer()
	container.Router(restful.CurlyRouter{})
	if _, _, err := group.InstallREST(container); err != nil {
		return nil, err
	}
	return genericfilters.WithRequestInfo(container, &genericrequest.RequestInfoFactory{APIPrefixes: sets.NewString("apis")}), nil
}

// usageTable is what both resources have in common.
type usageTable struct {
	u        *usageSimulation
	resource schema.GroupResource
}

func (usageTable) Destroy() {}

// selection reads the options of a list. The fields are those of every
// resource.
func selection(o *metainternalversion.ListOptions) (labels.Selector, fields.Selector) {
	l, f := labels.Everything(), fields.Everything()
	if o != nil && o.LabelSelector != nil {
		l = o.LabelSelector
	}
	if o != nil && o.FieldSelector != nil {
		f = o.FieldSelector
	}
	return l, f
}

func objectMeta(o usageOf) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: o.name, Namespace: o.namespace, Labels: o.labels, CreationTimestamp: o.created}
}

func resources(cpu, memory float64) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: cpuQuantity(cpu), corev1.ResourceMemory: memoryQuantity(memory)}
}

func columns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name"},
		{Name: "cpu", Type: "string", Format: "quantity"},
		{Name: "memory", Type: "string", Format: "quantity"},
		{Name: "Window", Type: "string", Format: "duration"},
	}
}

func row(o runtime.Object, name string, window metav1.Duration, cpu, memory float64) metav1.TableRow {
	c, m := cpuQuantity(cpu), memoryQuantity(memory)
	return metav1.TableRow{Cells: []any{name, c.String(), m.String(), window.Duration.Round(time.Millisecond).String()}, Object: runtime.RawExtension{Object: o}}
}

// nodeMetrics is the resource "nodes".
type nodeMetrics struct{ usageTable }

func (nodeMetrics) New() runtime.Object     { return &metrics.NodeMetrics{} }
func (nodeMetrics) NewList() runtime.Object { return &metrics.NodeMetricsList{} }
func (nodeMetrics) Kind() string            { return "NodeMetrics" }
func (nodeMetrics) NamespaceScoped() bool   { return false }
func (nodeMetrics) GetSingularName() string { return "" }

func (nodeMetrics) of(o usageOf) metrics.NodeMetrics {
	return metrics.NodeMetrics{ObjectMeta: objectMeta(o), Timestamp: metav1.NewTime(o.at), Window: metav1.Duration{Duration: o.window}, Usage: resources(o.cpu, o.memory)}
}

func (r nodeMetrics) List(_ context.Context, o *metainternalversion.ListOptions) (runtime.Object, error) {
	l, f := selection(o)
	list := &metrics.NodeMetricsList{Items: []metrics.NodeMetrics{}}
	for _, n := range r.u.nodesMatching("", l) {
		if f.Matches(fields.Set{"metadata.name": n.name}) {
			list.Items = append(list.Items, r.of(n))
		}
	}
	return list, nil
}

func (r nodeMetrics) Get(_ context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	all := r.u.nodesMatching(name, labels.Everything())
	if len(all) == 0 {
		return nil, apierrors.NewNotFound(r.resource, name)
	}
	m := r.of(all[0])
	return &m, nil
}

func (r nodeMetrics) ConvertToTable(_ context.Context, o, _ runtime.Object) (*metav1.Table, error) {
	t := &metav1.Table{ColumnDefinitions: columns()}
	add := func(m *metrics.NodeMetrics) {
		t.Rows = append(t.Rows, row(m, m.Name, m.Window, m.Usage.Cpu().AsApproximateFloat64()*1000, m.Usage.Memory().AsApproximateFloat64()))
	}
	switch o := o.(type) {
	case *metrics.NodeMetrics:
		add(o)
	case *metrics.NodeMetricsList:
		for i := range o.Items {
			add(&o.Items[i])
		}
	}
	return t, nil
}

// podMetrics is the resource "pods".
type podMetrics struct{ usageTable }

func (podMetrics) New() runtime.Object     { return &metrics.PodMetrics{} }
func (podMetrics) NewList() runtime.Object { return &metrics.PodMetricsList{} }
func (podMetrics) Kind() string            { return "PodMetrics" }
func (podMetrics) NamespaceScoped() bool   { return true }
func (podMetrics) GetSingularName() string { return "" }

func (podMetrics) of(o usageOf) metrics.PodMetrics {
	m := metrics.PodMetrics{ObjectMeta: objectMeta(o), Timestamp: metav1.NewTime(o.at), Window: metav1.Duration{Duration: o.window}}
	for _, c := range o.containers {
		m.Containers = append(m.Containers, metrics.ContainerMetrics{Name: c.name, Usage: resources(c.cpu, c.memory)})
	}
	return m
}

func (r podMetrics) List(ctx context.Context, o *metainternalversion.ListOptions) (runtime.Object, error) {
	l, f := selection(o)
	list := &metrics.PodMetricsList{Items: []metrics.PodMetrics{}}
	for _, p := range r.u.podsMatching(genericrequest.NamespaceValue(ctx), "", l) {
		if f.Matches(fields.Set{"metadata.name": p.name, "metadata.namespace": p.namespace}) {
			list.Items = append(list.Items, r.of(p))
		}
	}
	return list, nil
}

func (r podMetrics) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	all := r.u.podsMatching(genericrequest.NamespaceValue(ctx), name, labels.Everything())
	if len(all) == 0 {
		return nil, apierrors.NewNotFound(r.resource, name)
	}
	m := r.of(all[0])
	return &m, nil
}

func (r podMetrics) ConvertToTable(_ context.Context, o, _ runtime.Object) (*metav1.Table, error) {
	t := &metav1.Table{ColumnDefinitions: columns()}
	add := func(m *metrics.PodMetrics) {
		cpu, memory := 0.0, 0.0
		for _, c := range m.Containers {
			cpu += c.Usage.Cpu().AsApproximateFloat64() * 1000
			memory += c.Usage.Memory().AsApproximateFloat64()
		}
		t.Rows = append(t.Rows, row(m, m.Name, m.Window, cpu, memory))
	}
	switch o := o.(type) {
	case *metrics.PodMetrics:
		add(o)
	case *metrics.PodMetricsList:
		for i := range o.Items {
			add(&o.Items[i])
		}
	}
	return t, nil
}

// registerMetricsAPI tells the API server where the metrics are, and returns
// when it passes requests on.
func registerMetricsAPI(ctx context.Context, client kubernetes.Interface, config *clientrest.Config, l net.Listener, c *credentials) error {
	fail := func(err error) error { return fmt.Errorf("metrics API: %w", err) }
	if err := ensureNamespace(ctx, client, metav1.NamespaceSystem); err != nil {
		return fail(err)
	}
	address := l.Addr().(*net.TCPAddr)
	ours := map[string]string{managedByLabel: managedBy}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: metricsService, Namespace: metav1.NamespaceSystem, Labels: ours},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeExternalName,
			// An address, not "localhost", which no resolver need know.
			ExternalName: address.IP.String(),
		},
	}
	services := client.CoreV1().Services(metav1.NamespaceSystem)
	if _, err := services.Create(ctx, service, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
		err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
			have, err := services.Get(ctx, service.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			have.Labels, have.Spec = ours, service.Spec
			_, err = services.Update(ctx, have, metav1.UpdateOptions{})
			return err
		})
		if err != nil {
			return fail(err)
		}
	} else if err != nil {
		return fail(err)
	}

	ag, err := aggregator.NewForConfig(config)
	if err != nil {
		return fail(err)
	}
	api := &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: metricsAPI, Labels: ours},
		Spec: apiregistrationv1.APIServiceSpec{
			Service:  &apiregistrationv1.ServiceReference{Namespace: metav1.NamespaceSystem, Name: metricsService, Port: new(int32(address.Port))},
			Group:    metricsv1beta1.SchemeGroupVersion.Group,
			Version:  metricsv1beta1.SchemeGroupVersion.Version,
			CABundle: c.caPEM,
			// As metrics-server asks for.
			GroupPriorityMinimum: 100,
			VersionPriority:      100,
		},
	}
	apis := ag.ApiregistrationV1().APIServices()
	if _, err := apis.Create(ctx, api, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
		// The API server writes to its status as it starts.
		err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
			have, err := apis.Get(ctx, api.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			have.Labels, have.Spec = ours, api.Spec
			_, err = apis.Update(ctx, have, metav1.UpdateOptions{})
			return err
		})
		if err != nil {
			return fail(err)
		}
	} else if err != nil {
		return fail(err)
	}
	if err := poll(ctx, 20*time.Millisecond, func() bool {
		return client.CoreV1().RESTClient().Get().AbsPath("/apis", metricsv1beta1.SchemeGroupVersion.String(), "nodes").Do(ctx).Error() == nil
	}); err != nil {
		return fmt.Errorf("metrics API is not served: %w", err)
	}
	return nil
}
