// Command k8s-synth-voice is what runs in the containers of a patch that is
// played on real nodes: it answers requests with the name of its pod, and it
// burns as much processor time and holds as much memory as it is told, so that
// the load of a Pod module is a load that the node really bears.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const program = "k8s-synth-voice"

// defaultListen is the loopback interface; the image asks for all interfaces,
// because in a pod they are the pod's own.
const defaultListen = "127.0.0.1:8080"

// maxMemory bounds what can be asked for, in MiB: more is a mistake.
const maxMemory = 1 << 20

// namespaceFile is where a pod that mounts a service account finds its
// namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
	}
	os.Exit(code)
}

// run serves or pauses until a signal or a request ends it, and returns the
// exit code.
func run(args []string) (int, error) {
	fs := flag.NewFlagSet(program, flag.ContinueOnError)
	listen := fs.String("listen", defaultListen, "`address` to answer HTTP requests on")
	cpu := fs.Int("cpu", 0, "processor time to burn from the start, in `millicores`")
	memory := fs.Int("memory", 0, "memory to hold from the start, in `MiB`")
	fs.Usage = func() {
		fmt.Fprintf(fs.Output(), `%s answers HTTP requests and bears synthetic load.

  %[1]s [flags]   serve GET /, GET and PUT /load?cpu=MILLICORES&memory=MIB,
                          GET /healthz and POST /exit?code=N
  %[1]s pause     wait for a signal: the first process of a pod's sandbox
  %[1]s job --for 2.5s
                            work that takes as long, and then is done

`, program)
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0, nil
	} else if err != nil {
		return 2, nil // the flag set has said why
	}
	// Caught before anything else: the first process of a container has no
	// default action for a signal, and would not end at all.
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	switch {
	case fs.NArg() == 0:
	case fs.NArg() == 1 && fs.Arg(0) == "pause":
		pause(ctx)
		return 0, nil
	case fs.Arg(0) == "job":
		return job(ctx, fs.Args()[1:])
	default:
		return 2, fmt.Errorf("unexpected argument %q; expected none, \"pause\" or \"job\"", fs.Arg(0))
	}
	if *cpu < 0 || *cpu > maxMillicores || *memory < 0 || *memory > maxMemory {
		return 2, fmt.Errorf("expected --cpu from 0 to %d and --memory from 0 to %d, got %d and %d", maxMillicores, maxMemory, *cpu, *memory)
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return 1, fmt.Errorf("listen: %w", err)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	v := newVoice(ctx)
	v.burner.set(*cpu)
	if err := v.ballast.set(*memory); err != nil {
		return 1, err
	}
	slog.Info("serving", "address", l.Addr(), "pod", v.who.Pod, "cpu", *cpu, "memory", *memory)
	return v.serve(ctx, l)
}

// interrupted is the exit code of a job that a signal ended before it was done:
// as a shell has it for SIGTERM.
const interrupted = 128 + int(syscall.SIGTERM)

// job is what the pod of a Job does: it takes a time, and then is done.
func job(ctx context.Context, args []string) (int, error) {
	fs := flag.NewFlagSet(program+" job", flag.ContinueOnError)
	length := fs.Duration("for", 0, "how long it takes, such as 2.5s")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0, nil
	} else if err != nil {
		return 2, nil // the flag set has said why
	}
	if fs.NArg() > 0 || *length < 0 {
		return 2, fmt.Errorf("job takes --for and a length of time such as 2.5s, got %q", args)
	}
	select {
	case <-time.After(*length):
		return 0, nil
	case <-ctx.Done():
		return interrupted, errors.New("ended before the job was done")
	}
}

// identity is what GET / answers.
type identity struct {
	Pod       string `json:"pod"`
	Namespace string `json:"namespace"`
	Node      string `json:"node"`
}

// whoAmI reads the pod's identity from its environment (POD_NAME,
// POD_NAMESPACE, NODE_NAME, as the downward API sets them). A pod's host name
// is its own name, so that the one that matters needs no environment.
func whoAmI() identity {
	who := identity{Pod: os.Getenv("POD_NAME"), Namespace: os.Getenv("POD_NAMESPACE"), Node: os.Getenv("NODE_NAME")}
	if who.Pod == "" {
		who.Pod, _ = os.Hostname()
	}
	if who.Namespace == "" {
		b, _ := os.ReadFile(namespaceFile)
		who.Namespace = strings.TrimSpace(string(b))
	}
	return who
}

// voice is the HTTP server with the load that it bears.
type voice struct {
	who     identity
	burner  *burner
	ballast ballast
	exit    chan int
}

func newVoice(ctx context.Context) *voice {
	return &voice{who: whoAmI(), burner: newBurner(ctx), exit: make(chan int, 1)}
}

// serve answers until ctx ends or a request asks for the exit.
func (v *voice) serve(ctx context.Context, l net.Listener) (int, error) {
	server := &http.Server{Handler: v.handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	defer server.Close()
	select {
	case <-ctx.Done():
		return 0, nil
	case err := <-failed:
		return 1, fmt.Errorf("serve: %w", err)
	case code := <-v.exit:
		// Long enough for the answer to leave; open connections of others
		// are not waited for.
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		_ = server.Shutdown(ctx)
		return code, nil
	}
}

func (v *voice) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /load", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, v.load())
	})
	mux.HandleFunc("PUT /load", v.putLoad)
	mux.HandleFunc("POST /exit", v.postExit)
	// Requests of the patch may have any path and method, as behind an
	// ingress; all are answered alike.
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		writeJSON(w, v.who)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Pod", v.who.Pod)
		mux.ServeHTTP(w, r)
	})
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // a reader that is gone
}

// load is what GET and PUT /load answer.
type load struct {
	CPU    int `json:"cpu"`    // asked for, in millicores
	Memory int `json:"memory"` // held, in MiB
	Used   int `json:"used"`   // what the process has used in the last second or so, in millicores
}

func (v *voice) load() load {
	return load{CPU: v.burner.target(), Memory: v.ballast.held(), Used: v.burner.used()}
}

// putLoad sets what the query names and leaves the rest as it is.
func (v *voice) putLoad(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	cpu, err := number(query, "cpu", v.burner.target(), maxMillicores)
	if err == nil {
		var memory int
		if memory, err = number(query, "memory", v.ballast.held(), maxMemory); err == nil {
			v.burner.set(cpu)
			if err := v.ballast.set(memory); err != nil {
				http.Error(w, err.Error(), http.StatusInsufficientStorage)
				return
			}
			writeJSON(w, v.load())
			return
		}
	}
	http.Error(w, err.Error(), http.StatusBadRequest)
}

// postExit ends the process with the asked code, so that a crash can be played.
func (v *voice) postExit(w http.ResponseWriter, r *http.Request) {
	code, err := number(r.URL.Query(), "code", 0, 255)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer := fmt.Sprintf("ends with code %d\n", code)
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	w.WriteHeader(http.StatusAccepted)
	_, _ = fmt.Fprint(w, answer)
	// All of it is sent before the process may end.
	_ = http.NewResponseController(w).Flush()
	select {
	case v.exit <- code:
	default: // it ends already
	}
}

// number reads a whole number from 0 to most; absent is the value that was
// there.
func number(query url.Values, name string, was, most int) (int, error) {
	if !query.Has(name) {
		return was, nil
	}
	n, err := strconv.Atoi(query.Get(name))
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%s=%q: expected a whole number from 0 to %d", name, query.Get(name), most)
	}
	return n, nil
}
