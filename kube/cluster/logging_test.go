//go:build !race

package cluster

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

func testContext(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), time.Minute)
}

func testLog() (*bytes.Buffer, *slog.Logger) {
	b := &bytes.Buffer{}
	return b, slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

func TestKlogWriter(t *testing.T) {
	const warning = "W0102 03:04:05.678901   12345 replica_set.go:640] pods \"web\" is forbidden\n"
	for _, tt := range []struct {
		name, in, want string
		verbose        bool
	}{
		{"warning", warning, `level=WARN msg="pods \"web\" is forbidden" source=replica_set.go:640` + "\n", false},
		{"error", "E" + warning[1:], `level=ERROR msg="pods \"web\" is forbidden" source=replica_set.go:640` + "\n", false},
		{"info is dropped", "I" + warning[1:], "", false},
		{"info is shown", "I" + warning[1:], `level=INFO msg="pods \"web\" is forbidden" source=replica_set.go:640` + "\n", true},
		{"usual at a start", "E0102 03:04:05.678901   12345 options.go:205] The manifest file is empty, ignoring.\n", "", false},
		{"usual where one watch is later than another", "E0102 03:04:05.678901   12345 repairip.go:383] \"Unhandled Error\" err=\"the ClusterIP [IPv4]: 10.96.0.1 for Service default/kubernetes is not allocated; repairing\" logger=\"UnhandledError\"\n", "", false},
		{"not klog's form", "Wonder", `level=WARN msg=Wonder source=""` + "\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, log := testLog()
			if n, err := (&klogWriter{log: log, verbose: tt.verbose}).Write([]byte(tt.in)); n != len(tt.in) || err != nil {
				t.Errorf("wrote %d of %d, %v", n, len(tt.in), err)
			}
			if out.String() != tt.want {
				t.Errorf("got  %q\nwant %q", out, tt.want)
			}
		})
	}
}

func TestJSONLog(t *testing.T) {
	out, log := testLog()
	var seen []string
	w := &jsonLog{log: log, least: slog.LevelWarn, seen: func(m string) { seen = append(seen, m) }}
	in := `{"level":"info","msg":"Starting workers"}
{"level":"error","msg":"applying","error":"conflict"}
{"level":"WARN","msg":"lease","err":"gone"}
{"level":"info","ts":1,"msg":"","eventType":"status_update"}
panic: oh no
`
	for _, b := range []byte(in) { // a pipe may cut it anywhere
		if _, err := w.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	want := "level=ERROR msg=applying error=conflict\nlevel=WARN msg=lease error=gone\nlevel=WARN msg=\"panic: oh no\"\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
	if got := strings.Join(seen, ","); got != "Starting workers,applying,lease," {
		t.Errorf("seen %s", got)
	}
	if _, err := w.Write(bytes.Repeat([]byte("x"), 2<<20)); err != nil || len(w.rest) > 1<<20 {
		t.Errorf("a line without an end is kept: %d bytes, %v", len(w.rest), err)
	}
}

func TestEtcdLogger(t *testing.T) {
	out, log := testLog()
	l, level := etcdLogger(log, false)
	l.Info("serving")
	l.With(zap.String("dir", "/d")).Error("no space", zap.Error(errors.New("ENOSPC")))
	level.SetLevel(zap.FatalLevel)
	l.Error("listener closed")
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `level=ERROR msg="no space" component=etcd dir=/d error=ENOSPC`) {
		t.Errorf("got %q", got)
	}
}
