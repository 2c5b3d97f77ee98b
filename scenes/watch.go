package scenes

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

const (
	// maxWatchValue is the longest event or list of a watch, in bytes. Files may be
	// of any length: they are read as they come.
	maxWatchValue = 256 << 20
	// maxWatchSteps is how many transitions a watch may come to: they are kept.
	maxWatchSteps = 2_000_000
	// maxWatchList is how many objects may be there before anything happens.
	maxWatchList = 1_000_000
	// watchPrelude is how long the state that was there before is shown until
	// what happened begins.
	watchPrelude = 2 * time.Second
	// watchListed is how far before the first change an object may have come and
	// still be one that came while somebody watched.
	watchListed = time.Minute
)

// Watch is what somebody recorded of a cluster: the API's watch events, or
// the objects that they held, as "kubectl get … --watch -o json" writes them.
type Watch struct {
	// Listed is what was there when the recording began, Told what happened
	// after it, by time.
	Listed, Told []mapping.Transition
	// Deployments are those that were seen, with the most replicas that each
	// was to have; where none was, those that own the pods.
	Deployments map[string]int
	Namespaces  map[string]int // pods seen in each
	// Left counts what was there and cannot be heard, by kind.
	Left map[string]int
	// Events are Kubernetes' Events that were used, because of their objects
	// nothing else tells.
	Events int
}

// Length is the time from the first thing that happened to the last.
func (w *Watch) Length() time.Duration {
	if len(w.Told) == 0 {
		return 0
	}
	return w.Told[len(w.Told)-1].Time.Sub(w.Told[0].Time)
}

// WatchReader puts recorded watches together. The zero value is ready.
type WatchReader struct {
	// Namespace, if not empty, leaves out the objects of others.
	Namespace string

	listed, told []mapping.Transition
	objects      map[string]*watched
	slices       map[string]map[string][]string // ready pods by Service and slice
	places       map[string][]string            // by Service
	deployments  map[string]int
	owners       map[string]int
	namespaces   map[string]int
	left         map[string]int
	quotas       map[string]map[string]float64
	hints        []mapping.Transition // what Events say
	names        map[string]string    // one copy of each

	// Of the file that is read.
	pending []*watchEvent   // the first list, as long as nothing has changed
	seen    map[string]bool // what is in it
	told1   bool            // something has changed
	last    time.Time       // of what was told last
	group   []*watchEvent   // of one moment, not told yet
	relist  map[string]map[string]bool
}

// watched is an object as it was told last.
type watched struct {
	revision       int64
	object         mapping.Object
	owner, replica string
	values         []watchValue
}

type watchValue struct{ field, text string }

// watchEvent is one event of a watch, ready to be put in order.
type watchEvent struct {
	line     int
	kind     string // ADDED, MODIFIED, DELETED; empty of a bare object
	at       time.Time
	arrived  bool // at is when it arrived, and not what the object says
	listed   bool
	revision int64
	object   *apiObject
	is       *watched // what it says of an object that stands for itself
	uid      string   // of one that is gone, where nothing else is known
}

// The parts of the API's objects that can be heard.
type (
	apiObject struct {
		Kind       string          `json:"kind"`
		APIVersion string          `json:"apiVersion"`
		Metadata   apiMeta         `json:"metadata"`
		Spec       json.RawMessage `json:"spec"`
		Status     json.RawMessage `json:"status"`
		Items      []*apiObject    `json:"-"`

		// Of an EndpointSlice, a metric and an Event.
		Endpoints  []apiEndpoint `json:"endpoints"`
		Containers []apiUsed     `json:"containers"`
		Usage      apiQuantities `json:"usage"`
		Timestamp  *time.Time    `json:"timestamp"`
		Involved   *apiReference `json:"involvedObject"`
		Regarding  *apiReference `json:"regarding"`
		Reason     string        `json:"reason"`
		Message    string        `json:"message"`
		Note       string        `json:"note"`
		EventTime  *time.Time    `json:"eventTime"`
		Last       *time.Time    `json:"lastTimestamp"`
		Series     *apiSeries    `json:"series"`
		Columns    []any         `json:"columnDefinitions"`
		Code       int           `json:"code"`
		Details    *struct {
			UID string `json:"uid"`
		} `json:"details"`
	}
	// apiAudit is an event of an audit log.
	apiAudit struct {
		Stage  string     `json:"stage"`
		Verb   string     `json:"verb"`
		At     *time.Time `json:"stageTimestamp"`
		Status *struct {
			Code int `json:"code"`
		} `json:"responseStatus"`
		Object json.RawMessage `json:"responseObject"`
	}
	apiMeta struct {
		Name              string            `json:"name"`
		Namespace         string            `json:"namespace"`
		UID               string            `json:"uid"`
		ResourceVersion   string            `json:"resourceVersion"`
		Generation        int64             `json:"generation"`
		CreationTimestamp *time.Time        `json:"creationTimestamp"`
		DeletionTimestamp *time.Time        `json:"deletionTimestamp"`
		Grace             *int64            `json:"deletionGracePeriodSeconds"`
		Labels            map[string]string `json:"labels"`
		Annotations       map[string]string `json:"annotations"`
		Owners            []struct {
			Kind       string `json:"kind"`
			Name       string `json:"name"`
			Controller bool   `json:"controller"`
		} `json:"ownerReferences"`
		Managed []struct {
			Time *time.Time `json:"time"`
		} `json:"managedFields"`
	}
	apiReference struct {
		Kind      string `json:"kind"`
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
		UID       string `json:"uid"`
	}
	apiSeries struct {
		Last *time.Time `json:"lastObservedTime"`
	}
	apiUsed struct {
		Usage apiQuantities `json:"usage"`
	}
	apiQuantities map[string]json.RawMessage
	apiEndpoint   struct {
		Conditions struct {
			Ready *bool `json:"ready"`
		} `json:"conditions"`
		Target *apiReference `json:"targetRef"`
	}
	apiCondition struct {
		Type   string     `json:"type"`
		Status string     `json:"status"`
		Reason string     `json:"reason"`
		At     *time.Time `json:"lastTransitionTime"`
		Update *time.Time `json:"lastUpdateTime"`
	}
	apiState struct {
		Waiting *struct {
			Reason string `json:"reason"`
		} `json:"waiting"`
		Running *struct {
			Started *time.Time `json:"startedAt"`
		} `json:"running"`
		Terminated *struct {
			Reason   string     `json:"reason"`
			Started  *time.Time `json:"startedAt"`
			Finished *time.Time `json:"finishedAt"`
		} `json:"terminated"`
	}
	apiContainer struct {
		Ready    bool     `json:"ready"`
		Restarts int64    `json:"restartCount"`
		State    apiState `json:"state"`
		Last     apiState `json:"lastState"`
	}
)

// UnmarshalJSON reads of an object what its kind has: other kinds may have
// anything.
func (o *apiObject) UnmarshalJSON(b []byte) error {
	type whole apiObject
	var head struct {
		Kind    string          `json:"kind"`
		Meta    apiMeta         `json:"metadata"`
		Spec    json.RawMessage `json:"spec"`
		Status  json.RawMessage `json:"status"`
		Columns []any           `json:"columnDefinitions"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return err
	}
	switch head.Kind {
	case "EndpointSlice", "PodMetrics", "NodeMetrics", "Event", "Status":
		return json.Unmarshal(b, (*whole)(o))
	}
	*o = apiObject{Kind: head.Kind, Metadata: head.Meta, Spec: head.Spec, Status: head.Status, Columns: head.Columns}
	if strings.HasSuffix(head.Kind, "List") {
		var list struct {
			Items []*apiObject `json:"items"`
		}
		if err := json.Unmarshal(b, &list); err != nil {
			return err
		}
		if o.Items = list.Items; o.Items == nil {
			o.Items = []*apiObject{}
		}
	}
	return nil
}

func (r *apiReference) empty() bool { return r == nil || r.Name == "" }

// Read reads one recording after the others: JSON objects, one after the
// other, each an event of a watch {"type", "object"}, an object, a list of
// them, or an event of an audit log with its response. File is its name in
// errors. An event may say when it arrived, as {"time", "type", "object"};
// where it does not, the times that are in the object tell, and what falls into
// one second is spread over it. The stream that k8s-synth-kube writes, and
// takes, are read as well.
//
// Files are read as they come: of an object nothing is kept but what can be
// heard of it, neither specs nor labels nor anybody's data.
func (w *WatchReader) Read(file string, in io.Reader) error {
	buf := bufio.NewReaderSize(in, 1<<16)
	for {
		b, err := buf.Peek(1)
		if err != nil || !bytes.ContainsAny(b, " \t\r\n") {
			break
		}
		_, _ = buf.ReadByte()
	}
	if start, _ := buf.Peek(4096); looksLikeTake(start) || beginsTake(start) || looksLikeStream(start) {
		return w.readTake(file, buf)
	}
	w.pending, w.seen, w.told1, w.last, w.group, w.relist = nil, map[string]bool{}, false, time.Time{}, nil, nil
	counted := &lineCounter{r: buf}
	dec := json.NewDecoder(counted)
	any := false
	for {
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, io.ErrUnexpectedEOF) && any {
			w.leave("an event that was cut short at the end")
			break // who recorded was stopped
		}
		if err != nil {
			line := 1
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				line = counted.line(syntax.Offset)
			} else {
				line = counted.line(dec.InputOffset())
			}
			if errors.Is(err, errWatchValue) {
				return &document.Error{File: file, Line: line, Column: 1, Err: err}
			}
			return &document.Error{File: file, Line: line, Column: 1, Err: fmt.Errorf("this is not a recorded watch: %w; expected JSON objects, as \"kubectl get pods --watch -o json\" writes them", err)}
		}
		line := counted.line(dec.InputOffset() - int64(len(raw)) + 1)
		counted.pass(dec.InputOffset())
		any = true
		if err := w.value(raw, line); err != nil {
			return &document.Error{File: file, Line: line, Column: 1, Err: err}
		}
	}
	if !any {
		return &document.Error{File: file, Line: 1, Column: 1, Err: errors.New("the file has no event of a watch and no object")}
	}
	if err := w.flush(); err != nil {
		return &document.Error{File: file, Line: 1, Column: 1, Err: err}
	}
	return nil
}

// value takes over one event, object or list.
func (w *WatchReader) value(raw json.RawMessage, line int) error {
	var e struct {
		Time    *time.Time      `json:"time"`
		Type    *string         `json:"type"`
		Object  json.RawMessage `json:"object"`
		Kind    string          `json:"kind"`
		Version string          `json:"apiVersion"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("this is neither an event of a watch nor an object: %w", err)
	}
	ev := &watchEvent{line: line}
	audit := e.Kind == "Event" && strings.HasPrefix(e.Version, "audit.k8s.io/")
	switch {
	case audit:
		var ok bool
		var err error
		if raw, ok, err = w.audited(raw, ev); err != nil || !ok {
			return err
		}
	case e.Type != nil && e.Object != nil && e.Kind == "":
		ev.kind, raw = *e.Type, e.Object
		if e.Time != nil {
			ev.at, ev.arrived = *e.Time, true
		}
	}
	switch ev.kind {
	case "", "ADDED", "MODIFIED", "DELETED", "BOOKMARK":
	case "ERROR":
		// Who watched begins anew, with a list: what is not in it has gone meanwhile.
		w.leave("ERROR")
		w.relist = map[string]map[string]bool{}
		return nil
	default:
		return fmt.Errorf("there is no event %q; expected ADDED, MODIFIED, DELETED, BOOKMARK or ERROR", document.Clip(ev.kind))
	}
	o := &apiObject{}
	if err := json.Unmarshal(raw, o); err != nil {
		return fmt.Errorf("the object cannot be read: %w", err)
	}
	switch {
	case ev.kind == "BOOKMARK":
		if o.Metadata.Annotations["k8s.io/initial-events-end"] == "true" {
			for _, before := range w.pending {
				before.listed = true
			}
			return w.relisted()
		}
		return nil
	case o.Kind == "Table" || o.Columns != nil:
		return errors.New("this is a table for people; record with -o json")
	case o.Kind == "":
		return errors.New("the object has no kind; expected one of Kubernetes' API")
	case audit && o.Kind == "Status":
		if ev.kind != "DELETED" || o.Details == nil || o.Details.UID == "" {
			w.leave("audit event without its object")
			return nil
		}
		ev.uid, ev.object = o.Details.UID, &apiObject{Kind: "Status"}
		return w.event(ev)
	case strings.HasSuffix(o.Kind, "List") && o.Items != nil:
		for _, item := range o.Items {
			if item == nil {
				return errors.New("an item of the list is null")
			}
			if item.Kind == "" {
				item.Kind = strings.TrimSuffix(o.Kind, "List")
			}
			sub := &watchEvent{line: line, at: ev.at, arrived: ev.arrived, listed: !w.told1, object: item}
			if err := w.checked(sub); err != nil {
				return err
			}
		}
		return nil
	}
	ev.object = o
	if audit && o.Metadata.DeletionTimestamp != nil {
		// A pod that has time to end is there until it has.
		ev.kind = "MODIFIED"
		if g := o.Metadata.Grace; g != nil && *g == 0 {
			ev.kind = "DELETED"
		}
	}
	return w.checked(ev)
}

// audited reads an event of an audit log. It is not ok if it changed nothing
// that is known.
func (w *WatchReader) audited(raw json.RawMessage, ev *watchEvent) (object json.RawMessage, ok bool, err error) {
	var a apiAudit
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, false, fmt.Errorf("the event of an audit log cannot be read: %w", err)
	}
	switch a.Verb {
	case "create", "update", "patch":
		ev.kind = "MODIFIED"
	case "delete":
		ev.kind = "DELETED"
	default:
		return nil, false, nil
	}
	if a.Stage != "ResponseComplete" || a.Status != nil && a.Status.Code >= 400 {
		return nil, false, nil
	}
	if a.Object == nil || string(a.Object) == "null" {
		w.leave("audit event without its object (its policy's level is not RequestResponse)")
		return nil, false, nil
	}
	if a.At != nil {
		ev.at, ev.arrived = *a.At, true
	}
	return a.Object, true, nil
}

// checked takes over an event with an object.
func (w *WatchReader) checked(e *watchEvent) error {
	if err := e.check(); err != nil {
		return err
	}
	if m := &e.object.Metadata; w.Namespace != "" && m.Namespace != "" && m.Namespace != w.Namespace {
		w.leave(e.object.Kind + " of another namespace")
		return nil
	}
	if err := w.reduce(e); err != nil {
		return fmt.Errorf("%s %s: %w", e.object.Kind, e.object.Metadata.Name, err)
	}
	if e.object == nil {
		return nil
	}
	return w.event(e)
}

func looksLikeStream(start []byte) bool {
	for _, begin := range []string{`{"hello":`, `{"transition":`} {
		if bytes.HasPrefix(start, []byte(begin)) {
			return true
		}
	}
	return false
}

// readTake takes over the transitions of a take or stream.
func (w *WatchReader) readTake(file string, in io.Reader) error {
	t, err := NewTakeReader(file, in)
	if err != nil {
		return err
	}
	for {
		l, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if l.Transition == nil || w.Namespace != "" && l.Transition.Object.Namespace != "" && l.Transition.Object.Namespace != w.Namespace {
			continue
		}
		tr := *l.Transition
		w.count(&tr)
		if tr.Quiet {
			w.listed = append(w.listed, tr)
		} else {
			w.told = append(w.told, tr)
		}
	}
}

// check finds what no object can be without, and dates the event.
func (e *watchEvent) check() error {
	o := e.object
	if o.Metadata.Name == "" {
		return fmt.Errorf("the %s has no metadata.name", o.Kind)
	}
	e.revision, _ = strconv.ParseInt(o.Metadata.ResourceVersion, 10, 64)
	if !e.arrived {
		e.at = o.newest(e.kind == "DELETED")
	}
	return nil
}

// newest is the newest of the times that an object has.
func (o *apiObject) newest(deleted bool) time.Time {
	var newest time.Time
	see := func(t *time.Time) {
		if t != nil && t.After(newest) {
			newest = *t
		}
	}
	m := &o.Metadata
	see(m.CreationTimestamp)
	for i := range m.Managed {
		see(m.Managed[i].Time)
	}
	if t := m.DeletionTimestamp; t != nil {
		asked := *t
		if m.Grace != nil {
			asked = asked.Add(-time.Duration(*m.Grace) * time.Second)
		}
		see(&asked)
	}
	see(o.Timestamp)
	see(o.EventTime)
	see(o.Last)
	if o.Series != nil {
		see(o.Series.Last)
	}
	var s struct {
		Conditions []apiCondition `json:"conditions"`
		Containers []apiContainer `json:"containerStatuses"`
		Init       []apiContainer `json:"initContainerStatuses"`
		Schedule   *time.Time     `json:"lastScheduleTime"`
		Completion *time.Time     `json:"completionTime"`
	}
	if o.Status != nil && json.Unmarshal(o.Status, &s) == nil {
		for i := range s.Conditions {
			see(s.Conditions[i].At)
			see(s.Conditions[i].Update)
		}
		for _, c := range slices.Concat(s.Containers, s.Init) {
			for _, st := range []apiState{c.State, c.Last} {
				if st.Running != nil {
					see(st.Running.Started)
				}
				if st.Terminated != nil {
					see(st.Terminated.Finished)
				}
			}
		}
		see(s.Schedule)
		see(s.Completion)
	}
	return newest
}

// event puts an event in its place: into the first list, as long as nothing has
// changed, or among what is told.
func (w *WatchReader) event(e *watchEvent) error {
	if w.relist != nil && !w.relists(e) {
		if err := w.relisted(); err != nil {
			return err
		}
	}
	if w.told1 {
		return w.settle(e)
	}
	key := ""
	if e.uid == "" {
		o := e.object
		key = o.Kind + "/" + cmp.Or(o.Metadata.UID, o.Metadata.Namespace+"/"+o.Metadata.Name)
	}
	if e.kind != "MODIFIED" && e.kind != "DELETED" && !w.seen[key] && e.object.Kind != "Event" {
		w.seen[key] = true
		w.pending = append(w.pending, e)
		if len(w.pending) > maxWatchList {
			return fmt.Errorf("the watch begins with more than %d objects", maxWatchList)
		}
		return nil
	}
	// The first list is what comes first, before anything changed.
	e.listed = false
	if err := w.begin(e); err != nil {
		return err
	}
	return w.settle(e)
}

// begin ends the first list: change, if there is one, is the first that changed
// something.
func (w *WatchReader) begin(change *watchEvent) error {
	pending := w.pending
	w.pending, w.seen, w.told1 = nil, nil, true
	// What came shortly before that, newer than all before it, came as news.
	news := len(pending)
	if change != nil {
		for news > 0 {
			e := pending[news-1]
			if e.listed || e.object.Metadata.CreationTimestamp == nil || change.at.Sub(*e.object.Metadata.CreationTimestamp) > watchListed || !newerThanAll(e, pending[:news-1]) {
				break
			}
			news--
		}
		if news == 0 {
			news = len(pending) // nobody lists nothing
		}
	}
	for _, e := range pending[:news] {
		e.listed = true
		if err := w.take(e); err != nil {
			return err
		}
	}
	for _, e := range pending[news:] {
		if err := w.settle(e); err != nil {
			return err
		}
	}
	return nil
}

// settle dates an event that is told: none before the one before it, and those
// of one second spread over it.
func (w *WatchReader) settle(e *watchEvent) error {
	if e.listed {
		return w.take(e)
	}
	if e.at.Before(w.last) || e.at.IsZero() {
		e.at = w.last
	}
	w.last = e.at
	if len(w.group) > 0 && !w.group[0].at.Equal(e.at) {
		if err := w.spread(e.at); err != nil {
			return err
		}
	}
	w.group = append(w.group, e)
	if len(w.group) > maxWatchList {
		return fmt.Errorf("more than %d events are of one moment", maxWatchList)
	}
	return nil
}

// spread tells the events of one moment; the next is at next, zero for none.
func (w *WatchReader) spread(next time.Time) error {
	group := w.group
	w.group = nil
	if len(group) == 0 {
		return nil
	}
	if second := group[0].at; second.Nanosecond() == 0 && !group[0].arrived {
		room := time.Second
		if !next.IsZero() {
			room = min(room, next.Sub(second))
		}
		for k, e := range group {
			e.at = second.Add(room * time.Duration(k) / time.Duration(len(group)))
		}
	}
	for _, e := range group {
		if err := w.take(e); err != nil {
			return err
		}
	}
	return nil
}

// flush tells what is left of a file.
func (w *WatchReader) flush() error {
	if !w.told1 {
		if err := w.begin(nil); err != nil {
			return err
		}
	}
	if err := w.relisted(); err != nil {
		return err
	}
	return w.spread(time.Time{})
}

// relists tells whether an event is of the list with which a watch began anew.
func (w *WatchReader) relists(e *watchEvent) bool {
	if e.is == nil || e.kind != "" && e.kind != "ADDED" {
		return false
	}
	kind, key := e.is.object.Kind, watchKey(&e.is.object)
	if w.relist[kind] == nil {
		w.relist[kind] = map[string]bool{}
	}
	if w.relist[kind][key] {
		return false
	}
	w.relist[kind][key] = true
	return true
}

// relisted ends such a list: what is not in it has gone.
func (w *WatchReader) relisted() error {
	relist := w.relist
	w.relist = nil
	if len(relist) == 0 {
		return nil
	}
	if !w.told1 {
		if err := w.begin(&watchEvent{at: w.last}); err != nil {
			return err
		}
	}
	if err := w.spread(time.Time{}); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(w.objects)) {
		o := w.objects[key]
		if kept := relist[o.object.Kind]; kept != nil && !kept[key] {
			if err := w.take(&watchEvent{kind: "DELETED", at: w.last, revision: o.revision, object: &apiObject{}, is: &watched{object: o.object, owner: o.owner, replica: o.replica}}); err != nil {
				return err
			}
		}
	}
	return nil
}

func newerThanAll(e *watchEvent, before []*watchEvent) bool {
	created := e.object.Metadata.CreationTimestamp
	for _, b := range before {
		if b.revision >= e.revision || created.Before(b.at) {
			return false
		}
	}
	return e.revision > 0
}

func (w *WatchReader) leave(kind string) {
	if w.left == nil {
		w.left = map[string]int{}
	}
	w.left[kind]++
}

// one returns one copy of a text that comes again and again.
func (w *WatchReader) one(text string) string {
	if kept, ok := w.names[text]; ok {
		return kept
	}
	if w.names == nil || len(w.names) > maxWatchList {
		w.names = map[string]string{}
	}
	kept := strings.Clone(text)
	w.names[kept] = kept
	return kept
}

// reduce keeps of an object what can be heard of it, or nothing.
func (w *WatchReader) reduce(e *watchEvent) (err error) {
	o := e.object
	m := &o.Metadata
	about := func(kind string) mapping.Object {
		return mapping.Object{Kind: kind, Namespace: w.one(m.Namespace), Name: w.one(m.Name), UID: w.one(m.UID)}
	}
	deleting := watchValue{mapping.FieldDeleting, ""}
	if m.DeletionTimestamp != nil {
		deleting.text = "true"
	}
	is := &watched{revision: e.revision}
	switch o.Kind {
	case "Pod":
		is.object = about(mapping.KindPod)
		is.values, is.owner, is.replica, err = podValues(o)
	case "Deployment":
		is.object = about(mapping.KindDeployment)
		is.values, err = deploymentValues(o)
	case "Node":
		is.object = mapping.Object{Kind: mapping.KindNode, Name: w.one(m.Name), UID: w.one(m.UID)}
		is.values, err = nodeValues(o)
	case "Service":
		is.object = about(mapping.KindService)
		is.values = []watchValue{{mapping.FieldEndpoints, ""}} // when it is told
	case "Ingress":
		is.object = about(mapping.KindIngress)
		is.values, err = ingressValues(o)
	case "HorizontalPodAutoscaler":
		is.object = about(mapping.KindHPA)
		is.values, err = hpaValues(o)
	case "CronJob":
		is.object = about(mapping.KindCronJob)
		is.values, err = cronJobValues(o, e.at)
	case "Job":
		is.object = about(mapping.KindJob)
		is.values, is.owner, err = jobValues(o)
	case "Namespace":
		is.object = mapping.Object{Kind: mapping.KindNamespace, Name: w.one(m.Name)}
		is.values = []watchValue{{mapping.FieldHeadroom, ""}} // likewise
	case "EndpointSlice":
		m.Labels = map[string]string{serviceLabel: m.Labels[serviceLabel]}
		is, o.Spec, o.Status = nil, nil, nil
	case "ResourceQuota":
		is, o.Spec, m.Labels = nil, nil, nil
	case "PodMetrics", "NodeMetrics", "Event":
		is, o.Spec, o.Status, m.Labels = nil, nil, nil, nil
	default:
		w.leave(o.Kind)
		e.object = nil
		return nil
	}
	if err != nil {
		return err
	}
	m.Annotations, m.Managed, m.Owners = nil, nil, nil
	if is != nil {
		is.owner, is.replica = w.one(is.owner), w.one(is.replica)
		is.values = slices.Concat([]watchValue{{mapping.FieldExists, "true"}}, is.values, []watchValue{deleting})
		for i := range is.values {
			is.values[i].text = w.one(is.values[i].text)
		}
		e.is = is
		o.Spec, o.Status, m.Labels = nil, nil, nil
	}
	return nil
}

// take says what an event changes.
func (w *WatchReader) take(e *watchEvent) error {
	if w.objects == nil {
		w.objects, w.slices, w.places, w.quotas = map[string]*watched{}, map[string]map[string][]string{}, map[string][]string{}, map[string]map[string]float64{}
	}
	if len(w.told)+len(w.listed)+len(w.hints) > maxWatchSteps {
		return fmt.Errorf("the watch has more than %d changes; import a shorter piece of it, or one namespace", maxWatchSteps)
	}
	is := e.is
	switch {
	case e.uid != "":
		for _, o := range w.objects {
			if o.object.UID == e.uid {
				w.gone(o, e)
				return nil
			}
		}
		return nil
	case is == nil:
		switch e.object.Kind {
		case "EndpointSlice":
			w.slice(e)
		case "ResourceQuota":
			return w.quota(e)
		case "PodMetrics", "NodeMetrics":
			return w.metrics(e)
		case "Event":
			w.hint(e)
		}
		return nil
	case is.object.Kind == mapping.KindService:
		is.set(mapping.FieldEndpoints, writePlaces(w.places[is.object.Namespace+"/"+is.object.Name]))
	case is.object.Kind == mapping.KindNamespace:
		is.set(mapping.FieldHeadroom, w.headroom(is.object.Name))
	}
	if e.kind == "DELETED" {
		w.gone(is, e)
		return nil
	}
	if was := w.objects[watchKey(&is.object)]; was != nil && e.revision > 0 && e.revision < was.revision {
		w.leave("an older state of a " + e.object.Kind)
		return nil
	}
	w.is(is, e)
	return nil
}

// set says what a value is.
func (o *watched) set(field, text string) {
	for i := range o.values {
		if o.values[i].field == field {
			o.values[i].text = text
		}
	}
}

func watchKey(o *mapping.Object) string {
	return o.Kind + "/" + cmp.Or(o.UID, o.Namespace+"/"+o.Name)
}

// is tells what of an object is another.
func (w *WatchReader) is(is *watched, e *watchEvent) {
	key := watchKey(&is.object)
	was := w.objects[key]
	if was != nil {
		// What comes by another way is carried on.
		for _, v := range was.values {
			if (v.field == mapping.FieldLoad || v.field == mapping.FieldMemory) && is.object.Kind != mapping.KindHPA && !slices.ContainsFunc(is.values, func(n watchValue) bool { return n.field == v.field }) {
				is.values = append(is.values, v)
			}
		}
	}
	w.objects[key] = is
	for _, v := range is.values {
		old := ""
		if was != nil {
			for _, o := range was.values {
				if o.field == v.field {
					old = o.text
				}
			}
		}
		if old != v.text {
			w.tell(is, e, v.field, old, v.text)
		}
	}
}

func (w *WatchReader) gone(is *watched, e *watchEvent) {
	key := watchKey(&is.object)
	if w.objects[key] == nil {
		return // it was gone when the recording began
	}
	delete(w.objects, key)
	w.tell(is, e, mapping.FieldExists, "true", "")
}

func (w *WatchReader) tell(is *watched, e *watchEvent, field, old, text string) {
	t := mapping.Transition{Time: e.at.Round(time.Microsecond), Revision: e.revision, Object: is.object, Owner: is.owner, Replica: is.replica, Field: field, Old: old, New: text, Quiet: e.listed}
	w.count(&t)
	if e.listed {
		w.listed = append(w.listed, t)
	} else {
		w.told = append(w.told, t)
	}
}

// count remembers what a scene for the watch must have.
func (w *WatchReader) count(t *mapping.Transition) {
	if w.deployments == nil {
		w.deployments, w.owners, w.namespaces = map[string]int{}, map[string]int{}, map[string]int{}
	}
	switch {
	case t.Object.Kind == mapping.KindDeployment:
		n := 0
		if t.Field == mapping.FieldReplicas {
			n, _ = strconv.Atoi(t.New)
		}
		w.deployments[t.Object.Name] = max(w.deployments[t.Object.Name], n)
	case t.Object.Kind == mapping.KindPod && t.Field == mapping.FieldExists && t.New != "":
		w.namespaces[t.Object.Namespace]++
		if t.Replica != "" {
			w.owners[t.Owner]++
		}
	}
}

// Watch returns what was read, in order.
func (w *WatchReader) Watch() *Watch {
	// Of what nothing but Events tells, they tell.
	known := map[string]bool{}
	for _, ts := range [][]mapping.Transition{w.listed, w.told} {
		for i := range ts {
			known[ts[i].Object.Kind+"/"+ts[i].Object.Namespace+"/"+ts[i].Object.Name] = true
		}
	}
	out := &Watch{Deployments: w.deployments, Namespaces: w.namespaces, Left: w.left}
	told := slices.Clip(w.told)
	states := map[string]string{}
	for _, t := range w.hints {
		object := t.Object.Kind + "/" + t.Object.Namespace + "/" + t.Object.Name
		if known[object] {
			continue
		}
		out.Events++
		exists := object + "/" + mapping.FieldExists
		gone := t.Field == mapping.FieldExists && t.New == ""
		if states[exists] == "" && !gone {
			there := t
			there.Field, there.Old, there.New = mapping.FieldExists, "", "true"
			told = append(told, there)
			states[exists] = "true"
		}
		if t.Old = states[object+"/"+t.Field]; t.Old != t.New {
			states[object+"/"+t.Field] = t.New
			told = append(told, t)
			w.count(&t)
		}
	}
	slices.SortStableFunc(told, func(a, b mapping.Transition) int { return a.Time.Compare(b.Time) })
	out.Listed, out.Told = w.listed, told
	if out.Deployments == nil {
		out.Deployments = map[string]int{}
	}
	if len(out.Deployments) == 0 {
		for name, n := range w.owners {
			out.Deployments[name] = n
		}
	}
	return out
}

// Pace says how a watch is played.
type Pace struct {
	// Speed is how many times as fast it goes, 0 as fast as it was.
	Speed float64
	// Rest, if above 0, is the longest time in which nothing happens; longer
	// ones are shortened to it.
	Rest time.Duration
}

// Write writes the watch as a take, with a scene, and a latency in seconds
// from what happens to what is heard.
func (w *Watch) Write(to io.Writer, h TakeHead, scene *Scene, pace Pace) error {
	if pace.Speed == 0 {
		pace.Speed = 1
	}
	text, err := Encode(scene)
	if err != nil {
		return err
	}
	h.Rate, h.Channels, h.Scene = takeRate, 2, string(text)
	if len(w.Told) > 0 {
		h.Time = w.Told[0].Time.Add(-watchPrelude)
	} else if len(w.Listed) > 0 {
		h.Time = w.Listed[len(w.Listed)-1].Time
	}
	t, err := NewTakeWriter(to, h)
	if err != nil {
		return err
	}
	fade := true
	if err := t.Write(TakeLine{Input: mapping.Input{Fade: &fade}}); err != nil {
		return err
	}
	last := time.Duration(0)
	say := func(at time.Duration, tr mapping.Transition) error {
		last = max(last, at)
		if at > MaxLength {
			return fmt.Errorf("the watch goes on for more than %s; play it faster, or with shorter rests", MaxLength)
		}
		now := int64(math.Round(at.Seconds() * takeRate))
		return t.Write(TakeLine{At: at, Input: mapping.Input{Present: now, Frame: now + int64(scene.Latency*takeRate) + 1, Transition: &tr}})
	}
	door := mapping.Object{Kind: mapping.KindAPIServer, Name: mapping.KindAPIServer}
	state := func(field string) mapping.Transition {
		return mapping.Transition{Time: h.Time, Object: door, Field: field, New: "true"}
	}
	if err := say(watchPrelude/8, state(mapping.FieldReachable)); err != nil {
		return err
	}
	for _, tr := range w.Listed {
		if err := say(watchPrelude/4, tr); err != nil {
			return err
		}
	}
	if err := say(watchPrelude/2, state(mapping.FieldSynced)); err != nil {
		return err
	}
	at := watchPrelude
	for i := range w.Told {
		if i > 0 {
			gap := time.Duration(float64(w.Told[i].Time.Sub(w.Told[i-1].Time)) / pace.Speed)
			if pace.Rest > 0 {
				gap = min(gap, pace.Rest)
			}
			at += gap
		}
		if err := say(at, w.Told[i]); err != nil {
			return err
		}
	}
	frames := int64((last + 5*time.Second).Seconds() * takeRate)
	out := false
	if err := t.Write(TakeLine{At: last + 4*time.Second, Input: mapping.Input{Present: frames - takeRate, Fade: &out}}); err != nil {
		return err
	}
	return t.Write(TakeLine{At: last + 5*time.Second, Frames: frames})
}

// lineCounter knows in which line a byte is, of those that were not passed yet.
type lineCounter struct {
	r      io.Reader
	read   int64
	starts []int64 // of lines
	lines  int     // that were passed
	passed int64   // bytes
}

var errWatchValue = fmt.Errorf("one event or list is longer than %d bytes", maxWatchValue)

func (l *lineCounter) Read(p []byte) (int, error) {
	if l.read-l.passed > maxWatchValue {
		return 0, errWatchValue
	}
	n, err := l.r.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			l.starts = append(l.starts, l.read+int64(i)+1)
		}
	}
	l.read += int64(n)
	return n, err
}

// pass forgets the lines that begin before a byte.
func (l *lineCounter) pass(offset int64) {
	l.passed = offset
	i, _ := slices.BinarySearch(l.starts, offset)
	l.lines += i
	l.starts = append(l.starts[:0], l.starts[i:]...)
}

// line returns the line of a byte, from 1.
func (l *lineCounter) line(offset int64) int {
	i, found := slices.BinarySearch(l.starts, offset)
	if found {
		i++
	}
	return l.lines + i + 1
}

// wellKnown are the reasons that Kubernetes itself gives.
var wellKnown = []string{"", "BackOff", "Completed", "ConfigMapNotFound", "ContainerCannotRun", "ContainerCreating", "ContainerStatusUnknown", "CrashLoopBackOff", "CreateContainerConfigError",
	"CreateContainerError", "DeadlineExceeded", "ErrImageNeverPull", "ErrImagePull", "Error", "Evicted", "FailedCreate", "ImageInspectError", "ImagePullBackOff", "InvalidImageName", "NodeAffinity",
	"NodeLost", "NodeShutdown", "OOMKilled", "OutOfcpu", "OutOfmemory", "OutOfpods", "PodInitializing", "Preempted", "Preempting", "RegistryUnavailable", "RunContainerError", "Shutdown", "StartError",
	"Terminated", "TerminationByKubelet", "UnexpectedAdmissionError", "Unknown", "Unschedulable"}

// Pseudonyms puts others in the place of all names that somebody gave: of
// objects, namespaces, owners, nodes and paths, and of reasons that are not
// Kubernetes' own. What had one name has one afterwards. Times and revisions
// stay.
func (w *Watch) Pseudonyms() {
	names, counts := map[string]string{"": "", "-": "-"}, map[string]int{}
	name := func(kind, text string) string {
		p, ok := names[text]
		if !ok {
			counts[kind]++
			p = fmt.Sprintf("%s-%d", kind, counts[kind])
			names[text] = p
		}
		return p
	}
	list := func(text, separator string, one func(string) string) string {
		if text == "" {
			return ""
		}
		parts := strings.Split(text, separator)
		for i := range parts {
			parts[i] = one(parts[i])
		}
		return strings.Join(parts, separator)
	}
	value := func(t *mapping.Transition, text string) string {
		switch {
		case t.Field == mapping.FieldNode:
			return name(mapping.KindNode, text)
		case t.Field == mapping.FieldEndpoints:
			return list(text, ",", func(pod string) string { return name(mapping.KindPod, pod) })
		case t.Field == mapping.FieldRoutes:
			return list(text, ",", func(route string) string {
				path, service, _ := strings.Cut(route, "=")
				return "/" + strings.TrimPrefix(name("path", path), "/") + "=" + name(mapping.KindService, service)
			})
		case t.Field == mapping.FieldReason && !slices.Contains(wellKnown, text):
			return "Error"
		}
		return text
	}
	for _, ts := range [][]mapping.Transition{w.Listed, w.Told} {
		for i := range ts {
			t := &ts[i]
			o := &t.Object
			o.Namespace, o.UID = name(mapping.KindNamespace, o.Namespace), name("uid", o.UID)
			switch cron, isCron := strings.CutPrefix(t.Owner, mapping.KindCronJob+"."); {
			case isCron:
				t.Owner = mapping.KindCronJob + "." + name(mapping.KindCronJob, cron)
			case t.Owner == o.Name:
				t.Owner = name(o.Kind, t.Owner)
			default:
				t.Owner = name("app", t.Owner)
			}
			t.Replica = name("r", t.Replica)
			switch o.Kind {
			case mapping.KindAPIServer, mapping.KindEtcd, mapping.KindCluster:
			case mapping.KindDeployment:
				o.Name = name("app", o.Name)
			default:
				o.Name = name(o.Kind, o.Name)
			}
			t.Old, t.New = value(t, t.Old), value(t, t.New)
		}
	}
	renamed := func(kind string, of map[string]int) map[string]int {
		out := map[string]int{}
		for _, k := range slices.Sorted(maps.Keys(of)) {
			out[name(kind, k)] += of[k]
		}
		return out
	}
	w.Deployments, w.Namespaces = renamed("app", w.Deployments), renamed(mapping.KindNamespace, w.Namespaces)
}
