//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/osc"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// command runs k8s-synth on the session's state.
func (s *session) command(args ...string) (string, error) {
	s.t.Helper()
	c := exec.Command(program(s.t, "k8s-synth"), append(args, "--state-dir", s.state)...)
	c.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(s.dir, "config"))
	out, err := c.CombinedOutput()
	return string(out), err
}

func (s *session) must(args ...string) string {
	s.t.Helper()
	out, err := s.command(args...)
	if err != nil {
		s.t.Fatalf("k8s-synth %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// TestEndToEndScenes launches, morphs and undoes scenes against a real cluster.
func TestEndToEndScenes(t *testing.T) {
	needE2E(t)
	s := startPlay(t, nil, "--device", "null", "--ephemeral", "--metrics", "off", "--midi", "off", "--web", "off")
	s.wait(90*time.Second, "the cluster", func(p *playStatus) bool {
		return p.Cluster.Synced && p.Cluster.Desired > 0 && p.Cluster.Ready == p.Cluster.Desired
	})
	hand := s.peer("udp")
	hand.send("/subscribe")
	plays := func(scene string) func(*playStatus) bool {
		return func(p *playStatus) bool { return p.Scene == scene }
	}

	// A dry run shows what would change, and changes nothing.
	diff := s.must("scene", "diff", "autoscaler")
	if !strings.Contains(diff, "+kind: HorizontalPodAutoscaler") || !strings.Contains(diff, "@@") {
		t.Errorf("the diff to the autoscaler's scene is\n%s", diff)
	}
	if same := s.must("scene", "diff", "default", "default"); same != "" {
		t.Errorf("a scene differs from itself:\n%s", same)
	}
	if p := s.last(); p.Scene != "default" || p.Waiting != nil {
		t.Errorf("after the dry run %s plays", p.Scene)
	}

	// A launch waits, is taken back, swept away by a panic, and comes. A phrase
	// begins now, or its end might bring the scene before anybody has looked.
	hand.send("/clock/main/reset", osc.Float32(10))
	mark := hand.mark()
	s.must("scene", "launch", "autoscaler", "--at", "phrase")
	p := s.wait(2*time.Second, "the scene that waits", func(p *playStatus) bool { return p.Waiting != nil })
	if p.Waiting.Scene != "autoscaler" || p.Waiting.For != mapping.Phrase || p.Waiting.In <= 0 {
		t.Errorf("what waits is %+v", p.Waiting)
	}
	hand.await(2*time.Second, mark, "/scene/waiting autoscaler")
	hand.send("/clock/main/reset", osc.Float32(0))
	s.must("scene", "cancel")
	s.wait(2*time.Second, "nothing that waits", func(p *playStatus) bool { return p.Waiting == nil })
	s.must("scene", "launch", "autoscaler", "--at", "phrase")
	mark = hand.mark()
	s.must("panic")
	s.wait(2*time.Second, "nothing that waits after a panic", func(p *playStatus) bool { return p.Waiting == nil && p.Scene == "default" && p.Silenced })
	hand.await(2*time.Second, mark, "/silenced 1")
	mark = hand.mark()
	hand.send("/resume")
	hand.await(2*time.Second, mark, "/silenced 0")
	mark = hand.mark()
	hand.send("/scene/launch", osc.String("autoscaler"), osc.String("bar"), osc.Float32(1.5))
	s.wait(10*time.Second, "the scene", plays("autoscaler"))
	hand.await(2*time.Second, mark, "/scene/load autoscaler")
	client := s.cluster()
	hpas := func(want int) {
		t.Helper()
		s.poll(30*time.Second, fmt.Sprintf("%d autoscalers", want), func(ctx context.Context) error {
			l, err := client.AutoscalingV2().HorizontalPodAutoscalers(scenes.DefaultNamespace).List(ctx, metav1.ListOptions{})
			if err == nil && len(l.Items) != want {
				err = fmt.Errorf("there are %d", len(l.Items))
			}
			return err
		})
	}
	hpas(1)
	hand.send("/undo")
	s.wait(5*time.Second, "the scene before", plays("default"))
	hpas(0)
	if out, err := s.command("scene", "launch", "nothing-like-it"); err == nil || !strings.Contains(out, "there is no scene") {
		t.Errorf("a scene that is not there: %v\n%s", err, out)
	}

	// What is deleted comes back.
	s.replicas(3)
	s.deployment(30*time.Second, 3)
	hand.send("/remove", osc.String("deployment/web"))
	s.poll(30*time.Second, "the Deployment to go", func(ctx context.Context) error {
		_, err := client.AppsV1().Deployments(scenes.DefaultNamespace).Get(ctx, "web", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is still there: %v", err)
	})
	hand.send("/undo")
	s.deployment(40*time.Second, 3)

	// A morph: replicas go one by one, and the cluster is told of few states.
	s.replicas(9)
	s.deployment(40*time.Second, 9)
	s.must("scene", "snapshot", "2")
	s.replicas(2)
	s.deployment(40*time.Second, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	w, err := client.AppsV1().Deployments(scenes.DefaultNamespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=web"})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var seen []int32
	var generations []int64
	go func() {
		for e := range w.ResultChan() {
			d, ok := e.Object.(*appsv1.Deployment)
			if !ok {
				continue
			}
			mu.Lock()
			if n := *d.Spec.Replicas; len(seen) == 0 || seen[len(seen)-1] != n {
				seen = append(seen, n)
			}
			if len(generations) == 0 || generations[len(generations)-1] != d.Generation {
				generations = append(generations, d.Generation)
			}
			mu.Unlock()
		}
	}()
	began := time.Now()
	s.must("scene", "morph", "slot-2", "8", "--cut", "0.5")
	s.wait(20*time.Second, "the end of the morph", func(p *playStatus) bool { return p.Morph == nil && p.Scene == "slot-2" })
	took := time.Since(began)
	s.deployment(40*time.Second, 9)
	w.Stop()
	mu.Lock()
	t.Logf("a morph of 8 s took %s; the watch saw %v replicas in %d generations", took.Round(10*time.Millisecond), seen, len(generations))
	for i := 1; i < len(seen); i++ {
		if seen[i] != seen[i-1]+1 {
			t.Errorf("replicas went from %d to %d", seen[i-1], seen[i])
		}
	}
	if len(seen) == 0 || seen[len(seen)-1] != 9 {
		t.Errorf("the watch saw %v", seen)
	}
	if len(generations) > 20 {
		t.Errorf("the Deployment had %d generations", len(generations))
	}
	mu.Unlock()
	// By hand half of the way, and back by cancel; then all of it undone.
	s.replicas(9)
	s.must("scene", "morph", "default", "0")
	hand.send("/scene/morph/position", osc.Float32(0.4))
	s.wait(5*time.Second, "the fader", func(p *playStatus) bool { return p.Morph != nil && p.Morph.Held && p.Morph.Position > 0.39 })
	s.must("scene", "cancel")
	s.wait(10*time.Second, "the way back", func(p *playStatus) bool { return p.Morph == nil && p.Scene == "slot-2" })
	s.deployment(40*time.Second, 9)
	hand.send("/undo")
	s.wait(5*time.Second, "what was before the morph", plays("default"))
	s.deployment(40*time.Second, 2)

	// A set list.
	list := "version: 1\nname: friday\nscenes: [default, {scene: slot-2, launch: beat, crossfade: 0.5}]\n"
	if err := os.WriteFile(filepath.Join(s.dir, "config", "k8s-synth", "scenes", "friday.setlist.yaml"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	s.must("scene", "setlist", "play", "friday")
	hand.send("/scene/next")
	s.wait(5*time.Second, "the first of the list", func(p *playStatus) bool { return p.SetList != nil && p.SetList.Entry == 1 })
	hand.send("/scene/next")
	s.wait(5*time.Second, "the second of the list", func(p *playStatus) bool { return p.Scene == "slot-2" && p.SetList.Entry == 2 })
	if out, err := s.command("scene", "next"); err == nil || !strings.Contains(out, "ends here") {
		t.Errorf("beyond the end: %v\n%s", err, out)
	}
	s.must("scene", "previous")
	s.wait(5*time.Second, "the first again", plays("default"))
	if p := s.last(); p.Engine.Scrubbed > 0 || p.dropped() > 0 {
		t.Errorf("%d slices were no numbers, %d events were dropped", p.Engine.Scrubbed, p.dropped())
	}
	s.end(30 * time.Second)
}

// TestEndToEndKilled: killed at any moment, the instrument comes back as it was
// but for the last moment of a hand.
func TestEndToEndKilled(t *testing.T) {
	needE2E(t)
	killAndReturn(t, 5, 300*time.Millisecond)
}

// TestProofKilled is TestEndToEndKilled a hundred times, with the bound that is
// promised.
func TestProofKilled(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("kills the program a hundred times; K8S_SYNTH_PROOF=1 runs it")
	}
	needPrograms(t)
	killAndReturn(t, 100, 100*time.Millisecond)
}

// killAndReturn turns a knob, kills the real program in the midst of it, and
// looks what it plays when it is started again.
func killAndReturn(t *testing.T, times int, most time.Duration) {
	dir, err := os.MkdirTemp("", "kill-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	// A cluster that is not there: it is the instrument that is killed.
	kubeconfig := filepath.Join(dir, "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: none\nclusters: [{name: none, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: none, user: {}}]\ncontexts: [{name: none, context: {cluster: none, user: none}}]\n"
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	start := func(more ...string) (*exec.Cmd, *playStatus, *bytes.Buffer) {
		t.Helper()
		c := exec.Command(program(t, "k8s-synth"), append([]string{"play", "--kubeconfig", kubeconfig, "--listen-only", "--backend", "null", "--state-dir", state, "--osc", "127.0.0.1:0",
			"--web", "off", "--midi", "off", "--map", "off", "--metrics", "off", "--for", "1m"}, more...)...)
		var log bytes.Buffer
		c.Stdout, c.Stderr = &log, &log
		c.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"))
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if p, err := fetchStatus(t.Context(), socketPath(state)); err == nil && p.PID == c.Process.Pid && p.OSC != "" {
				return c, p, &log
			}
		}
		_ = c.Process.Kill()
		_ = c.Wait()
		t.Fatalf("it does not start:\n%s", log.String())
		return nil, nil, nil
	}
	end := func(c *exec.Cmd, sig os.Signal) { endProcess(c, sig) }
	c, p, _ := start("--scene", "default")
	var lost []time.Duration
	store := &scenes.Store{Dir: filepath.Join(dir, "config", "k8s-synth", "scenes")}
	slots := 0
	random := rand.New(rand.NewPCG(1, uint64(times)))
	const knob = "/audio_out/main/level"
	s, err := playedScene(t.Context(), socketPath(state))
	if err != nil || s.Patch.Module("audio_out/main") == nil {
		t.Fatalf("the default scene has no %s: %v", knob, err)
	}
	// A cable is pulled and plugged as well: that is a state of its own.
	at := slices.IndexFunc(s.Patch.Cables, func(c instrument.Cable) bool { return c.To.Module == "audio_out/main" })
	if at < 0 {
		t.Fatal("nothing leads to audio_out/main")
	}
	cable, pulled := s.Patch.Cables[at], false
	edits := 0
	for i := range times {
		conn, err := net.Dial("udp", p.OSC)
		if err != nil {
			t.Fatal(err)
		}
		type turned struct {
			at    time.Time
			value float32
		}
		var turns []turned
		slot := i%scenes.Slots + 1
		snapshot := time.Now().Add(time.Duration(random.IntN(800)) * time.Millisecond) // now and then within the last moment, or after it
		edited := make(chan time.Time, 1)
		edit := time.NewTimer(time.Duration(random.IntN(800)) * time.Millisecond)
		over := make(chan struct{})
		go func() {
			action := actPull + ":" + cable.To.String()
			if pulled {
				action = actPlug + ":" + cable.From.String() + "->" + cable.To.String()
			}
			select {
			case <-edit.C:
			case <-over:
				edited <- time.Time{}
				return
			}
			if err := do(t.Context(), state, action); err != nil {
				edited <- time.Time{} // it may have been killed in the midst of it
				return
			}
			edited <- time.Now()
		}()
		// For longer than may be lost, so that where the knob stood is one of these turns.
		until := time.Now().Add(most + 100*time.Millisecond + time.Duration(random.IntN(600))*time.Millisecond)
		for k := 0; time.Now().Before(until); k++ {
			v := -50 + float32(i%7) + float32(k)*0.01
			b, err := osc.AppendMessage(nil, knob, osc.Float32(v))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(b); err != nil {
				t.Fatal(err)
			}
			turns = append(turns, turned{time.Now(), v})
			if !snapshot.IsZero() && time.Now().After(snapshot) {
				snapshot = time.Time{}
				b, err := osc.AppendMessage(nil, "/scene/snapshot", osc.Int32(int32(slot)))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := conn.Write(b); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Millisecond)
		}
		killed := time.Now()
		end(c, syscall.SIGKILL)
		close(over)
		edit.Stop()
		done := <-edited
		conn.Close()
		var log *bytes.Buffer
		c, p, log = start()
		s, err := playedScene(t.Context(), socketPath(state))
		if err != nil {
			t.Fatalf("after %d kills: %v\n%s", i+1, err, log.String())
		}
		got := float32(s.Patch.Module(instrument.ModuleID("audio_out/main")).Value("level"))
		k := slices.IndexFunc(turns, func(x turned) bool { return x.value == got })
		if s.Name != "default" || k < 0 {
			t.Fatalf("after %d kills %s plays with the knob at %g\n%s", i+1, s.Name, got, log.String())
		}
		now := !slices.Contains(s.Patch.Cables, cable)
		if !done.IsZero() && killed.Sub(done) > most && now == pulled {
			t.Errorf("kill %d lost the edit of a cable %s before it", i+1, killed.Sub(done))
		}
		if now != pulled {
			edits++
		}
		pulled = now
		// Nothing is torn, and nothing half written is left of what is played.
		states, err := scenes.Backups(sessionDir(state))
		if err != nil || len(states) == 0 {
			t.Errorf("after %d kills: %d backups, %v", i+1, len(states), err)
		}
		for _, b := range states {
			if b.Err != nil {
				t.Errorf("after %d kills the state %s: %v", i+1, b.ID, b.Err)
			}
		}
		// What the one that plays is writing just now is there for a moment.
		var files []string
		for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
			if files, _ = filepath.Glob(filepath.Join(sessionDir(state), ".[0-9]*")); len(files) == 0 {
				break
			}
		}
		if len(files) > 0 {
			t.Errorf("after %d kills there are %v", i+1, files)
		}
		kept, err := store.List()
		if err != nil {
			t.Error(err)
		}
		for _, e := range kept {
			if e.Err != nil {
				t.Errorf("after %d kills %s: %v", i+1, e.Path, e.Err)
			}
			if e.Path != "" {
				slots++
			}
		}
		d := time.Duration(0)
		if k+1 < len(turns) {
			d = killed.Sub(turns[k+1].at)
		}
		lost = append(lost, d)
		if d > most {
			t.Errorf("kill %d lost the last %s of the knob, want at most %s", i+1, d, most)
		}
	}
	end(c, os.Interrupt)
	slices.Sort(lost)
	ms := func(share int) float64 {
		return float64(lost[(len(lost)-1)*share/100].Microseconds()) / 1000
	}
	t.Logf("killed %d times: of the knob the last %.1f ms were lost at p50, %.1f at p99, %.1f at most; %d edits of a cable, %d looks at slots", times, ms(50), ms(99), ms(100), edits, slots)
	if edits == 0 && times > 20 {
		t.Error("no edit of a cable was ever kept")
	}
	if slots == 0 {
		t.Error("no snapshot was ever kept")
	}
	c2 := exec.Command(program(t, "k8s-synth"), "scene", "backups", "--state-dir", state)
	c2.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"))
	if out, err := c2.CombinedOutput(); err != nil || strings.Count(string(out), "default") == 0 {
		t.Errorf("backups: %v\n%s", err, out)
	}
}
