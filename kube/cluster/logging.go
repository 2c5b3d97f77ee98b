package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	_ "unsafe" // for linkname

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc/grpclog"
	"k8s.io/klog/v2"
)

// usual are parts of messages that the components write as warnings and errors
// at every start of a new cluster or in the course of play, each about
// something that is there a moment later, is meant to be so here, or is told
// elsewhere. They are shown with --verbose.
var usual = []string{
	"The manifest file is empty, ignoring",
	"because it has no resources",
	"Found stale data, removed previous endpoints on kubernetes service",
	`namespaces \"kube-system\" not found`,
	`namespaces "kube-system" not found`,
	// A controller read its cache before its own write had come back, and
	// tries again.
	"is not as new as written version",
	// The metrics API describes itself by discovery only.
	"failed to download v1beta1.metrics.k8s.io: resource not found",
	// Of two writers one comes later, and tries again.
	"the object has been modified; please apply your changes to the latest version",
	// A pod that somebody else has deleted, without its grace.
	"failed to delete resource for step",
	// Told by events and conditions of who asked for too much, and of the
	// autoscaler, which has no figures before its pods run.
	"exceeded quota",
	"failed to compute desired number of replicas",
	// Told by the store's keeper, once.
	"database space exceeded",
	// The keeper of Services' addresses saw a Service before its address: it
	// reads them from two watches.
	"is not allocated; repairing",
	"Running ipallocator repair failed ... retrying",
	// etcd asks itself for the version of a store that it has just made.
	"failed to update storage version",
}

func isUsual(message string) bool {
	return slices.ContainsFunc(usual, func(u string) bool { return strings.Contains(message, u) })
}

// stopping tells that the components are being stopped, in the middle of
// whatever they do, and that their complaints of it are of no interest.
var stopping atomic.Bool

// routeLogs sends what the components in this process log to log: all of it,
// or warnings and worse. klog and gRPC have one logger in a process.
func routeLogs(log *slog.Logger, verbose bool) {
	fs := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(fs)
	for name, value := range map[string]string{
		"logtostderr":     "false",
		"alsologtostderr": "false",
		"stderrthreshold": "4",    // above FATAL: nothing goes past the writer below
		"one_output":      "true", // each line once, not once for each severity below its own
	} {
		if err := fs.Set(name, value); err != nil {
			panic(err) // klog has lost the flag: every start of this program shows it
		}
	}
	klog.SetOutput(&klogWriter{log: log.With("component", "kubernetes"), verbose: verbose})
	// A component to which a stop is fatal must not end the process before the
	// stop is over; a goroutine that waits is no harm.
	klog.OsExit = func(code int) {
		if stopping.Load() {
			select {}
		}
		os.Exit(code)
	}
	// The API server probes etcd on connections that it closes at once, and
	// gRPC warns of each.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, os.Stderr))
	apiServerEtcdLog, _ = etcdLogger(log, verbose)
}

// apiServerEtcdLog is the log of the API server's etcd clients, which writes
// to standard error whatever it is told, a line for each write that a full
// store refuses. There is no other way to it.
//
//go:linkname apiServerEtcdLog k8s.io/apiserver/pkg/storage/storagebackend/factory.etcd3ClientLogger
var apiServerEtcdLog *zap.Logger

// klogWriter turns lines of klog into records.
type klogWriter struct {
	log     *slog.Logger
	verbose bool
}

// Write takes one entry of klog: severity, month and day, time, thread, file
// and line, "]", message.
func (w *klogWriter) Write(b []byte) (int, error) {
	if len(b) == 0 || stopping.Load() && !w.verbose {
		return len(b), nil
	}
	level := slog.LevelInfo
	switch b[0] {
	case 'W':
		level = slog.LevelWarn
	case 'E', 'F':
		level = slog.LevelError
	}
	if !w.verbose && level < slog.LevelWarn {
		return len(b), nil
	}
	head, message, ok := strings.Cut(string(b), "] ")
	if !ok {
		head, message = "", string(b)
	}
	message = strings.TrimSpace(message)
	if !w.verbose && isUsual(message) {
		return len(b), nil
	}
	w.log.Log(context.Background(), level, message, "source", head[strings.LastIndexByte(head, ' ')+1:])
	return len(b), nil
}

// zapCore passes what etcd logs on as records.
type zapCore struct {
	zap.AtomicLevel
	log *slog.Logger
}

// etcdLogger returns a logger for etcd, and the level by which it is silenced
// when etcd is stopped: its listeners' ends are errors to it.
func etcdLogger(log *slog.Logger, verbose bool) (*zap.Logger, zap.AtomicLevel) {
	level := zap.NewAtomicLevelAt(zapcore.ErrorLevel)
	if verbose {
		level.SetLevel(zapcore.InfoLevel)
	}
	return zap.New(&zapCore{level, log.With("component", "etcd")}), level
}

func (c *zapCore) With(fields []zapcore.Field) zapcore.Core {
	return &zapCore{c.AtomicLevel, c.log.With(attributes(fields)...)}
}

func (c *zapCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) && !isUsual(e.Message) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.log.Log(context.Background(), logLevel(e.Level.String()), e.Message, attributes(fields)...)
	return nil
}

func (c *zapCore) Sync() error { return nil }

func attributes(fields []zapcore.Field) []any {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(m)
	}
	args := make([]any, 0, 2*len(m.Fields))
	for k, v := range m.Fields {
		args = append(args, k, v)
	}
	return args
}

// jsonLog is a writer for JSON logs, as Eno and KWOK write them.
type jsonLog struct {
	log     *slog.Logger
	verbose bool
	// least is the lowest level that is passed on without verbose.
	least slog.Level
	// seen, where set, is told each message.
	seen func(message string)

	mu   sync.Mutex
	rest []byte
}

// Write takes any part of a log; records are made of whole lines.
func (w *jsonLog) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, b...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 {
			// Not a log of lines: pass it on before it grows without end.
			if len(w.rest) > 1<<20 {
				w.line(w.rest)
				w.rest = nil
			}
			return len(b), nil
		}
		w.line(w.rest[:i])
		w.rest = w.rest[i+1:]
	}
}

func (w *jsonLog) line(b []byte) {
	var entry struct {
		Level string `json:"level"`
		Msg   string `json:"msg"`
		Error string `json:"error"` // Eno's name for it
		Err   string `json:"err"`   // KWOK's
	}
	text := string(bytes.TrimSpace(b))
	if text == "" {
		return
	}
	if json.Unmarshal(b, &entry) != nil || entry.Level == "" {
		// A panic, or the complaint of a program that cannot start.
		w.log.Warn(text)
		return
	}
	if w.seen != nil {
		w.seen(entry.Msg)
	}
	level := logLevel(entry.Level)
	if !w.verbose && (level < w.least || stopping.Load()) {
		return
	}
	if !w.verbose && isUsual(entry.Msg+entry.Error+entry.Err) {
		return
	}
	if e := entry.Error + entry.Err; e != "" {
		w.log.Log(context.Background(), level, entry.Msg, "error", e)
		return
	}
	w.log.Log(context.Background(), level, entry.Msg)
}

// logLevel reads the name of a level.
func logLevel(s string) slog.Level {
	switch strings.ToLower(s) {
	case "debug":
		return slog.LevelDebug
	case "warn", "warning":
		return slog.LevelWarn
	case "error", "dpanic", "panic", "fatal":
		return slog.LevelError
	}
	return slog.LevelInfo
}
