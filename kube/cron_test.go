package kube

import (
	"reflect"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8s-synth/k8s-synth/mapping"
)

func cronJob(schedule, zone, created, last string) *batchv1.CronJob {
	c := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "tick", Namespace: "n", UID: "c"}, Spec: batchv1.CronJobSpec{Schedule: schedule}}
	at := func(s string) metav1.Time {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			panic(err)
		}
		return metav1.NewTime(t)
	}
	c.CreationTimestamp = at(created)
	if zone != "" {
		c.Spec.TimeZone = &zone
	}
	if last != "" {
		l := at(last)
		c.Status.LastScheduleTime = &l
	}
	return c
}

func TestCalendar(t *testing.T) {
	const created = "2026-03-01T11:00:10Z"
	for _, x := range []struct{ schedule, zone, last, now, want string }{
		{"* * * * *", "", "", "2026-03-01T11:00:20Z", "2026-03-01T11:01:00Z"},
		{"* * * * *", "", "2026-03-01T11:05:00Z", "2026-03-01T11:05:00Z", "2026-03-01T11:06:00Z"},
		{"* * * * *", "", "2026-03-01T11:05:00Z", "2026-03-01T11:06:03Z", "2026-03-01T11:06:00Z"}, // its Job may still come
		{"* * * * *", "", "2026-03-01T11:05:00Z", "2026-03-01T11:06:05Z", "2026-03-01T11:07:00Z"}, // left out
		{"* * * * *", "", "2026-03-01T11:05:00Z", "2028-03-01T11:06:30Z", "2028-03-01T11:07:00Z"},
		{"@every 7s", "", "2026-03-01T11:05:00Z", "2026-03-01T11:05:00Z", "2026-03-01T11:05:07Z"},
		{"@every 7s", "", "2026-03-01T11:05:00Z", "2026-03-01T11:05:20Z", "2026-03-01T11:05:21Z"},
		{"@every 7s", "", "2026-03-01T11:05:00Z", "2026-03-01T11:05:21Z", "2026-03-01T11:05:28Z"},
		// 03:00 in New York is 08:00 UTC in winter and 07:00 from March 8.
		{"0 3 * * *", "America/New_York", "", "2026-03-01T11:00:20Z", "2026-03-02T08:00:00Z"},
		{"0 3 * * *", "America/New_York", "2026-03-08T07:00:00Z", "2026-03-08T07:00:01Z", "2026-03-09T07:00:00Z"},
		{"TZ=Asia/Tokyo 0 3 * * *", "", "", "2026-03-01T11:00:20Z", "2026-03-01T18:00:00Z"},
		{"0 0 31 2 *", "", "", "2026-03-01T11:00:20Z", ""}, // there is no such day
		{"every minute", "", "", "2026-03-01T11:00:20Z", ""},
		{"TZ=Asia/Tokyo", "", "", "2026-03-01T11:00:20Z", ""},
		{"", "", "", "2026-03-01T11:00:20Z", ""},
	} {
		now, err := time.Parse(time.RFC3339, x.now)
		if err != nil {
			t.Fatal(err)
		}
		if got := moment(calendarOf(cronJob(x.schedule, x.zone, created, x.last)).next(now)); got != x.want {
			t.Errorf("%q %s, last %s, now %s: next is %q, want %q", x.schedule, x.zone, x.last, x.now, got, x.want)
		}
	}
	c := cronJob("* * * * *", "", created, "")
	yes := true
	c.Spec.Suspend = &yes
	if got := calendarOf(c).next(time.Date(2026, 3, 1, 11, 0, 20, 0, time.UTC)); !got.IsZero() {
		t.Errorf("one that is suspended ticks at %v", got)
	}
}

// TestCalendarGoesOnWithoutEvents tells the next tick of a CronJob that leaves
// its ticks out, because its last Job still runs.
func TestCalendarGoesOnWithoutEvents(t *testing.T) {
	var r recorder
	clock := time.Date(2026, 3, 1, 11, 0, 20, 0, time.UTC)
	o := NewObserver(Options{Transitions: r.tell, Clock: func() time.Time { return clock }})
	o.tracker.set(trimCronJob(cronJob("* * * * *", "", "2026-03-01T11:00:10Z", ""), Stamp{Time: clock, Revision: 7}, clock))
	for range 150 {
		o.keepCalendar()
		clock = clock.Add(time.Second)
	}
	clock = clock.Add(-3 * time.Hour) // the clock is set
	o.keepCalendar()
	want := []string{"2026-03-01T11:01:00Z", "2026-03-01T11:02:00Z", "2026-03-01T11:03:00Z"}
	if got := r.of("tick", mapping.FieldNext); !reflect.DeepEqual(got, want) {
		t.Errorf("next went %q, want %q", got, want)
	}
}
