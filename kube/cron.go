package kube

import (
	"strings"
	"time"
	_ "time/tzdata" // schedules name time zones, and a container may have none

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	// tickGrace is how long a tick may be late before it counts as left out:
	// a CronJob that forbids two Jobs at once leaves them out without a word.
	tickGrace = 5 * time.Second
	// calendarEvery is how often the next ticks are looked at.
	calendarEvery = time.Second
)

// calendar is when a CronJob ticks.
type calendar struct {
	schedule cron.Schedule // nil: never
	base     time.Time     // the tick from which the next one is counted
}

// calendarOf reads a CronJob's schedule as its controller does. One that is
// suspended or cannot be read never ticks.
func calendarOf(c *batchv1.CronJob) calendar {
	spec := strings.TrimSpace(c.Spec.Schedule)
	if c.Spec.Suspend != nil && *c.Spec.Suspend || c.DeletionTimestamp != nil || spec == "" {
		return calendar{}
	}
	switch {
	case strings.Contains(spec, "TZ"):
		if !strings.Contains(spec, " ") {
			return calendar{} // the parser would not survive it
		}
	case c.Spec.TimeZone != nil:
		if _, err := time.LoadLocation(*c.Spec.TimeZone); err == nil {
			spec = "TZ=" + *c.Spec.TimeZone + " " + spec
		}
	}
	schedule, err := cron.ParseStandard(spec)
	if err != nil {
		return calendar{}
	}
	base := c.CreationTimestamp.Time
	if c.Status.LastScheduleTime != nil {
		base = c.Status.LastScheduleTime.Time
	}
	return calendar{schedule: schedule, base: base}
}

// next returns the first tick after the base that is not left out, or zero
// where there is none.
func (c calendar) next(now time.Time) time.Time {
	if c.schedule == nil {
		return time.Time{}
	}
	t := c.schedule.Next(c.base)
	late := now.Sub(t)
	if t.IsZero() || late < tickGrace {
		return t
	}
	// Each tick of "@every" is counted from the one before.
	if every, ok := c.schedule.(cron.ConstantDelaySchedule); ok && every.Delay > 0 {
		return t.Add((late/every.Delay + 1) * every.Delay)
	}
	return c.schedule.Next(now)
}

// keepCalendar tells the next tick of each CronJob whose last one was left out.
func (o *Observer) keepCalendar() {
	now := o.Clock()
	o.tracker.amend(mapping.KindCronJob, func(was Object) Object {
		c, ok := was.(*CronJob)
		if !ok || c.Next.IsZero() || now.Sub(c.Next) < tickGrace {
			return nil
		}
		next := c.calendar.next(now)
		if next.Equal(c.Next) {
			return nil
		}
		out := *c
		out.Next, out.Time = next, o.Now()
		return &out
	})
}
