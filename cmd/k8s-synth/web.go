package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/instrument/rt"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/web"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// webPort is where the page is served if no flag says otherwise.
const webPort = 9080

// webSurface is the page in browsers; nil is none. All but the server and the
// tap belongs to the control goroutine.
type webSurface struct {
	*web.Server
	dirty    bool   // the rack looks other than was told
	revision uint64 // of the states that were told
	outputs  []mapping.Address
	volts    []float32
	frame    int64 // of the meters that were told last
	slots    bool  // the bank of pods has changed
	scenes   []web.SceneInfo
	lists    []web.SceneInfo // set lists
	told     time.Time       // the status
	tap      *soundTap
	ended    chan struct{} // the tap is read no more
}

// openWeb serves the page where the options say.
func (p *player) openWeb(dir string) error {
	if p.o.network.web == off {
		return nil
	}
	token, err := webToken(filepath.Join(dir, "web-token"))
	if err != nil {
		return fmt.Errorf("web: %w", err)
	}
	c := web.Config{Addr: p.o.network.web, Token: token, Version: version, Do: p.webDo, Left: p.webLeft, Assets: web.Assets(), Pages: p.webPages(), Logger: p.log,
		Allow: func(a netip.Addr) bool {
			return slices.ContainsFunc(p.o.network.prefixes, func(n netip.Prefix) bool { return n.Contains(a) })
		}}
	if reachable(c.Addr) {
		here := vouchHere(c.Addr)
		k, err := keepCertificate(dir, here, p.log)
		if err != nil {
			return fmt.Errorf("web: %w", err)
		}
		c.TLS, c.Names = &tls.Config{GetCertificate: k.get, MinVersion: tls.VersionTLS12}, here.names
		p.log.Info("web: the browser will ask about this certificate", "sha256", fingerprint(k.cert))
	}
	s, err := web.Listen(c)
	if errors.Is(err, syscall.EADDRINUSE) && !slices.Contains(p.o.changed, "web") {
		host, _, _ := net.SplitHostPort(c.Addr)
		c.Addr = net.JoinHostPort(host, "0")
		s, err = web.Listen(c)
	}
	if err != nil {
		return err
	}
	p.web = &webSurface{Server: s, dirty: true, slots: true, ended: make(chan struct{})}
	for _, u := range s.URLs() {
		p.log.Info("web", "address", u)
	}
	if p.o.open {
		// Not the address with the token: all users of the machine see what stands
		// in a command line.
		if err := openBrowser(s.Ticket()); err != nil {
			p.log.Warn("web: open the address in a browser", "err", err)
		}
	}
	return nil
}

// webToken reads the token of the page, which stays the same from start to
// start so that a page that is open goes on, or makes one.
func webToken(path string) (string, error) {
	text, err := os.ReadFile(path)
	if t := strings.TrimSpace(string(text)); err == nil && len(t) >= 22 {
		return t, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	token := web.NewToken()
	return token, os.WriteFile(path, []byte(token), 0o600)
}

// openBrowser shows an address to the player.
func openBrowser(url string) error {
	name, args := "xdg-open", []string{url}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", url}
	}
	c := exec.Command(name, args...)
	if err := c.Start(); err != nil {
		return err
	}
	go func() { _ = c.Wait() }()
	return nil
}

// webLeft lets go of what a page held that is gone.
func (p *player) webLeft(client string) {
	p.left(func(source string) bool { return source == client })
}

// changed tells the pages of a value. Volts of outputs go with the meters.
func (s *webSurface) changed(m *mapping.Member, value float64, word, source string) {
	switch {
	case s == nil || m.Kind == mapping.MemberOutput:
	case m.Kind == mapping.MemberText:
		s.Wrote(m.Address, word, source)
	default:
		s.Changed(m.Address, value, "", source)
	}
}

// refused tells a page why what it asked for was refused, and where the knob
// that it turned stands.
func (s *webSurface) refused(t turn, err error) {
	if s != nil && strings.HasPrefix(t.source, "web ") {
		s.Refuse(t.source, err.Error())
		s.dirty = true
	}
}

// look tells the pages what the rack looks like now.
func (s *webSurface) look() {
	if s != nil {
		s.dirty = true
	}
}

// happened adds a transition to the ticker.
func (s *webSurface) happened(t mapping.Transition) {
	if s == nil || t.Quiet || t.Object.Kind == mapping.KindEtcd || t.Field == mapping.FieldLoad || t.Field == mapping.FieldMemory || t.Field == mapping.FieldLatency {
		return
	}
	text := t.Field + " " + cmp.Or(t.New, "gone")
	if t.Old != "" {
		text = t.Field + " " + t.Old + " → " + cmp.Or(t.New, "gone")
	}
	s.Event(web.Event{Time: float64(t.Time.UnixMicro()) / 1e3, Kind: t.Object.Kind, Name: t.Object.Name, Text: text})
}

// says adds a line of the instrument's own to the ticker.
func (s *webSurface) says(kind, name, text string) {
	if s != nil {
		s.Event(web.Event{Time: float64(time.Now().UnixMicro()) / 1e3, Kind: kind, Name: name, Text: text})
	}
}

// tellWeb brings the pages up to date. It is called every controlPeriod.
func (p *player) tellWeb(now time.Time) {
	s := p.web
	if s == nil {
		return
	}
	if s.dirty {
		s.dirty = false
		s.State(p.webState())
	}
	if s.slots {
		s.slots = false
		s.Slots(p.webSlots())
	}
	if s.Pages() == 0 {
		return
	}
	if m := p.rack.Meters(); m.Frame != s.frame {
		s.frame = m.Frame
		for i, a := range s.outputs {
			v, _, _ := p.rack.Value(a)
			s.volts[i] = float32(v)
		}
		s.Meters(m.Frame, [2]float32{m.Peak[0], m.Peak[1]}, s.volts)
	}
	if now.Sub(s.told) >= 250*time.Millisecond {
		s.told = now
		s.Status(p.webStatus())
	}
}

// webState is the rack as a page draws it.
func (p *player) webState() *web.State {
	s := p.web
	s.revision++
	st := &web.State{Revision: s.revision, Scene: p.scene.Name, Title: p.scene.Title, Rate: float64(p.o.device.Rate), Scenes: s.scenes, SetLists: s.lists,
		Cluster: cmp.Or(p.o.context, p.o.kubeconfig, "own"), Own: p.clusterArgs == nil, ListenOnly: p.o.listenOnly, Modules: []web.Module{}, Cables: []web.Cable{}, Outputs: []mapping.Address{}}
	patch := p.rack.Patch()
	shown := *p.scene
	shown.Patch = patch
	places := shown.Arrange(rowHP)
	for i := range patch.Modules {
		m := &patch.Modules[i]
		at := places[m.ID]
		w := web.Module{ID: string(m.ID), Row: at.Row, HP: at.HP, Params: map[string]float64{}, Text: map[string]string{}}
		for _, ps := range m.Spec().Params {
			if ps.Text {
				w.Text[ps.Name] = m.Word(ps.Name)
			} else {
				w.Params[ps.Name] = m.Value(ps.Name)
			}
		}
		st.Modules = append(st.Modules, w)
	}
	sensed := p.rack.SensedCables()
	for _, c := range patch.Cables {
		a, b := instrument.Spec(c.From.Module.Kind()), instrument.Spec(c.To.Module.Kind())
		cluster := a != nil && b != nil && a.Cluster() && b.Cluster()
		st.Cables = append(st.Cables, web.Cable{From: c.From.String(), To: c.To.String(), Sensed: slices.Contains(sensed, c), Cluster: cluster})
	}
	for _, m := range p.rack.Members() {
		if m.Kind == mapping.MemberOutput {
			st.Outputs = append(st.Outputs, m.Address)
		}
	}
	s.outputs, s.volts = st.Outputs, make([]float32, len(st.Outputs))
	if c, ok := p.history.Next(); ok {
		st.Undo = describeChange(c)
	}
	if c, ok := p.history.Previous(); ok {
		st.Redo = describeChange(c)
	}
	return st
}

// rowHP is how wide a row is that modules without a place are put into.
const rowHP = 168

// webSlot is a pod in the bank, as pages show it.
type webSlot struct {
	Pod   string  `json:"pod"`
	Owner string  `json:"owner"`
	Phase string  `json:"phase"`
	Node  string  `json:"node"`
	Load  float64 `json:"load"`
}

func (p *player) webSlots() []webSlot {
	list := []webSlot{}
	for _, s := range p.rack.Slots() {
		if s.Pod == "" {
			break
		}
		list = append(list, webSlot{s.Pod, string(s.Owner), s.Phase.String(), s.Node, s.Load})
	}
	return list
}

// webStatus is how the instrument is, as pages show it.
func (p *player) webStatus() any {
	g := p.gather()
	learns := ""
	if p.osc != nil {
		learns = wordOf(&p.osc.learns)
	}
	return map[string]any{
		"cluster": g.Cluster, "tempo": g.Tempo, "load": g.Audio.Load, "loadPeak": g.Audio.LoadPeak, "underruns": g.Audio.Underruns, "late": g.Engine.Late,
		"backend": g.Audio.Backend, "device": g.Audio.Device, "lost": g.Audio.Lost, "latency": float64(g.Audio.Latency) / float64(max(g.Audio.Rate, 1)),
		"takeovers": g.Takeovers, "learns": learns, "seconds": g.Seconds, "waiting": g.Waiting, "morph": g.Morph, "setList": g.SetList, "silenced": g.Silenced, "take": p.webTake(), "case": g.Case, "pages": p.web.Pages(),
	}
}

// webTake is the take that is being recorded, as pages show it.
func (p *player) webTake() any {
	if p.take == nil {
		return nil
	}
	return map[string]any{"file": filepath.Base(p.o.take), "seconds": time.Since(p.take.start).Seconds()}
}

// listScenes finds the scenes that pages offer. It reads files.
func listScenes(log *slog.Logger) (list []web.SceneInfo) {
	all, err := openStore().List()
	if err != nil {
		log.Warn("scenes", "err", err)
		return nil
	}
	for _, e := range all {
		if e.Err == nil {
			list = append(list, web.SceneInfo{Name: e.Name, Title: e.Title, About: e.About, Slot: scenes.SlotOf(e.Name)})
		}
	}
	return list
}

// listSetLists finds the set lists that pages offer. It reads files.
func listSetLists(log *slog.Logger) (list []web.SceneInfo) {
	all, err := openStore().SetLists()
	if err != nil {
		log.Warn("set lists", "err", err)
		return nil
	}
	for _, e := range all {
		if e.Err == nil {
			list = append(list, web.SceneInfo{Name: e.Name, Title: e.Title})
		}
	}
	return list
}

// relist reads anew which scenes and set lists there are.
func (p *player) relist() {
	if p.web == nil {
		return
	}
	go landed(func() {
		list, lists := listScenes(p.log), listSetLists(p.log)
		p.call(func() { p.web.scenes, p.web.lists, p.web.dirty = list, lists, true })
	})
}

// soundTap passes on what the first two outputs play, while somebody listens.
// It stands between the device and the engine.
type soundTap struct {
	engine *instrument.Engine
	on     atomic.Bool
	ring   *rt.Ring[soundBlock]
	frame  int64
}

// soundBlock is one block of sound, in volts.
type soundBlock struct {
	frame int64
	n     int
	sound [2][instrument.BlockSize]float32
}

func newSoundTap(e *instrument.Engine) *soundTap {
	return &soundTap{engine: e, ring: rt.NewRing[soundBlock](64)}
}

// Render renders and passes on. Audio thread.
func (t *soundTap) Render(out, in [][]float32) {
	t.engine.Render(out, in)
	n := len(out[0])
	if t.on.Load() {
		b := soundBlock{frame: t.frame, n: min(n, instrument.BlockSize)}
		for c := range b.sound {
			copy(b.sound[c][:], out[min(c, len(out)-1)])
		}
		t.ring.Push(b) // what finds no room is late anyway
	}
	t.frame += int64(n)
}

// listen gives pages what is played until ctx ends.
func (p *player) listen(ctx context.Context) {
	s := p.web
	if s == nil {
		return
	}
	defer close(s.ended)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	const piece = 10 * instrument.BlockSize // 13 ms at 48 kHz
	var left, right []float32
	var first int64
	var b soundBlock
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.tap.on.Store(s.Listening())
		for s.tap.ring.Pop(&b) {
			if len(left) > 0 && b.frame != first+int64(len(left)) {
				left, right = left[:0], right[:0] // something was lost
			}
			if len(left) == 0 {
				first = b.frame
			}
			for i := range b.n {
				left = append(left, b.sound[0][i]/instrument.AudioVolts)
				right = append(right, b.sound[1][i]/instrument.AudioVolts)
			}
			if len(left) >= piece {
				s.Sound(first, left, right)
				left, right = left[:0], right[:0]
			}
		}
	}
}

// webPages serves what is not the rack itself.
func (p *player) webPages() http.Handler { return aboutPages(web.Plates(), p.log) }

// currentScene is the scene as it is played, for what needs no control
// goroutine afterwards.
func (p *player) currentScene() (s *scenes.Scene, err error) {
	if !p.ask(func() { s = p.playedNow() }) {
		return nil, errAway
	}
	return s, nil
}
