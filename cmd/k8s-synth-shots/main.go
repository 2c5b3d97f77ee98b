// Command k8s-synth-shots takes the pictures of the gallery: it starts the
// instrument without a sound device, opens its rack in a headless Chromium,
// and photographs what is there. With --pages it photographs pages of the site
// instead, at the sizes of a phone, a tablet and a desk, for the eye of whoever
// changed them. It stands outside of the instrument, so that nothing of a
// browser's driver is linked into that.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// shot is one picture of the rack.
type shot struct {
	file          string
	scene         string
	width, height int
	scale         float64
	title, alt    string
	// do is what is done in the page before, as JavaScript.
	do string
	// wait is how long it plays once the cluster has what was asked for.
	wait time.Duration
}

// shots are the gallery. The largest side and the quality keep each below
// 150 kB.
var shots = []shot{
	{file: "rack.webp", scene: "default", width: 1200, height: 930, scale: 1.25, wait: 8 * time.Second, do: press("aside", "smaller", "smaller"),
		title: "The default scene: a Deployment, its four pods, and the voices that they are",
		alt:   "The rack in a browser on a wide screen: rows of panels with coloured cables hanging between them, and over them that four of four pods are ready."},
	{file: "cluster.webp", scene: "cluster", width: 1440, height: 900, scale: 1, wait: 8 * time.Second, do: press("aside", "smaller", "smaller"),
		title: "Every Kubernetes module on one rack",
		alt:   "A rack with a Deployment, Pods, Services, an Ingress, Nodes, an autoscaler, a CronJob and a Job, patched to one another."},
	{file: "module.webp", scene: "default", width: 1280, height: 800, scale: 1, wait: 8 * time.Second, do: `document.querySelector('.module')?.dispatchEvent(new PointerEvent('pointerdown', {bubbles: true}))`,
		title: "A module and its YAML beside it",
		alt:   "The rack with a Deployment selected; the side shows its YAML, ready to be edited."},
	{file: "stage.webp", scene: "service", width: 1440, height: 810, scale: 1, wait: 8 * time.Second, do: press("stage"),
		title: "Stage mode: black, and to be read from two metres",
		alt:   "The rack in stage mode: black panels with bright lights, and large words for the state of the cluster."},
	{file: "tablet.webp", scene: "rolling-update", width: 1024, height: 768, scale: 1, wait: 8 * time.Second, do: press("aside"),
		title: "On a tablet", alt: "The rack at the size of a tablet."},
	{file: "phone.webp", scene: "default", width: 390, height: 844, scale: 1.5, wait: 8 * time.Second,
		title: "On a phone", alt: "The rack on the screen of a phone: panels above, the side below."},
}

// press clicks buttons of the page, by their ids.
func press(ids ...string) string {
	return "for (const id of '" + strings.Join(ids, " ") + "'.split(' ')) document.getElementById(id)?.click()"
}

// sizes are those at which pages are looked at.
var sizes = []struct {
	name          string
	width, height int64
}{{"390", 390, 844}, {"1024", 1024, 768}, {"1600", 1600, 1000}}

func main() {
	var (
		out     = flag.String("o", "", "folder for the pictures")
		synth   = flag.String("k8s-synth", "bin/k8s-synth", "the instrument")
		only    = flag.String("only", "", "take only those whose name has this in it")
		pages   = flag.String("pages", "", "address or folder of the site to look at, instead of the rack")
		list    = flag.String("list", "index.html modules.html module/deployment.html module/drum.html signals.html backplane.html listen.html gallery.html", "pages to look at")
		schemes = flag.String("schemes", "dark light", "colour schemes to look at pages in")
		screen  = flag.Bool("screen", false, "one screen of each page, not the whole of it")
	)
	flag.Parse()
	if *out == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "k8s-synth-shots: -o names the folder for the pictures; there are no other arguments")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := os.MkdirAll(*out, 0o755)
	switch {
	case err != nil:
	case *pages != "":
		err = look(ctx, *pages, strings.Fields(*list), strings.Fields(*schemes), *only, *out, *screen)
	default:
		err = take(ctx, *synth, *only, *out)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "k8s-synth-shots: %v\n", err)
		os.Exit(1)
	}
}

// browser starts Chromium.
func browser(ctx context.Context) (context.Context, context.CancelFunc, error) {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.DisableGPU, chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("hide-scrollbars", true), chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("autoplay-policy", "no-user-gesture-required"))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium has no sandbox for root
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			options = append(options, chromedp.ExecPath(path))
			break
		}
	}
	ctx, end := chromedp.NewExecAllocator(ctx, options...)
	ctx, close := chromedp.NewContext(ctx)
	both := func() { close(); end() }
	if err := chromedp.Run(ctx); err != nil {
		both()
		return nil, nil, fmt.Errorf("starting chromium (apt install chromium): %w", err)
	}
	return ctx, both, nil
}

// look photographs pages in every size and scheme.
func look(ctx context.Context, where string, list, schemes []string, only, out string, screen bool) error {
	if !strings.Contains(where, "://") {
		abs, err := filepath.Abs(where)
		if err != nil {
			return err
		}
		where = (&url.URL{Scheme: "file", Path: abs}).String()
	}
	ctx, end, err := browser(ctx)
	if err != nil {
		return err
	}
	defer end()
	for _, p := range list {
		if !strings.Contains(p, only) {
			continue
		}
		for _, scheme := range schemes {
			for _, s := range sizes {
				var picture []byte
				var wide int64
				c, cancel := context.WithTimeout(ctx, time.Minute)
				err := chromedp.Run(c,
					emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
					chromedp.EmulateViewport(s.width, s.height),
					chromedp.Navigate(strings.TrimSuffix(where, "/")+"/"+p),
					chromedp.Evaluate(`document.querySelectorAll('[loading=lazy]').forEach(i => i.loading = 'eager'); Promise.all([...document.images].map(i => i.decode().catch(() => 0)))`, nil, settled),
					chromedp.Evaluate(`document.documentElement.scrollWidth`, &wide),
					chromedp.ActionFunc(func(ctx context.Context) (err error) {
						shot := page.CaptureScreenshot().WithFormat(page.CaptureScreenshotFormatPng)
						if !screen {
							shot = shot.WithCaptureBeyondViewport(true)
							_, _, _, _, _, size, err := page.GetLayoutMetrics().Do(ctx)
							if err != nil {
								return err
							}
							shot = shot.WithClip(&page.Viewport{Width: float64(s.width), Height: min(size.Height, 9000), Scale: 1})
						}
						picture, err = shot.Do(ctx)
						return err
					}))
				cancel()
				if err != nil {
					return fmt.Errorf("%s at %s: %w", p, s.name, err)
				}
				if wide > s.width {
					fmt.Fprintf(os.Stderr, "%s at %s is %d wide\n", p, s.name, wide)
				}
				name := strings.NewReplacer("/", "-", ".html", "").Replace(p) + "-" + s.name + "-" + scheme + ".png"
				if err := os.WriteFile(filepath.Join(out, name), picture, 0o644); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// settled makes an evaluation wait for its promise.
func settled(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }

// take photographs the rack, one scene after the other.
func take(ctx context.Context, synth, only, out string) error {
	ctx, end, err := browser(ctx)
	if err != nil {
		return err
	}
	defer end()
	var captions strings.Builder
	for _, s := range shots {
		if strings.Contains(s.file, only) {
			fmt.Fprintf(os.Stderr, "%s …\n", s.file)
			// On a machine that has too much to do the instrument says so in its
			// page; that is no picture of it.
			var best []byte
			bestRank := 3
			for range tries {
				picture, troubled, err := takeOne(ctx, synth, s)
				if err != nil {
					return fmt.Errorf("%s: %w", s.file, err)
				}
				if r := rank(troubled); r < bestRank {
					best, bestRank = picture, r
				}
				if bestRank == 0 {
					break
				}
				fmt.Fprintf(os.Stderr, "%s shows %q\n", s.file, troubled)
			}
			if bestRank > 1 {
				return fmt.Errorf("%s: no picture in %d was without trouble; the last stays", s.file, tries)
			}
			if err := os.WriteFile(filepath.Join(out, s.file), best, 0o644); err != nil {
				return err
			}
		}
		if _, err := os.Stat(filepath.Join(out, s.file)); err == nil {
			fmt.Fprintf(&captions, "%s\t%d\t%d\t%s\t%s\n", s.file, int(float64(s.width)*s.scale), int(float64(s.height)*s.scale), s.title, s.alt)
		}
	}
	return os.WriteFile(filepath.Join(out, "captions.txt"), []byte(captions.String()), 0o644)
}

// address is what the instrument says of its page.
var address = regexp.MustCompile(`https?://[^\s"]+`)

// rank says how bad trouble looks: none, late sound, or words.
func rank(troubled string) int {
	switch {
	case troubled == "":
		return 0
	case strings.HasSuffix(troubled, "underruns"):
		return 1
	}
	return 2
}

// tries is how often a picture is taken that shows trouble.
const tries = 3

// takeOne plays a scene in a place of its own and photographs it when its pods
// are ready. It returns the picture, and the trouble that is to be seen in the picture.
func takeOne(ctx context.Context, synth string, s shot) (picture []byte, troubled string, err error) {
	dir, err := os.MkdirTemp("", "k8s-synth-shots-")
	if err != nil {
		return nil, "", err
	}
	defer os.RemoveAll(dir)
	c := exec.CommandContext(ctx, synth, "play", "--scene", s.scene, "--device", "null", "--ephemeral", "--state-dir", filepath.Join(dir, "state"), "--web", "127.0.0.1:0",
		"--osc", "off", "--osc-tcp", "off", "--oscquery", "off", "--midi", "off", "--map", "off", "--metrics", "off")
	c.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "XDG_STATE_HOME="+filepath.Join(dir, "state"), "XDG_RUNTIME_DIR="+dir)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 20 * time.Second
	said, err := c.StderrPipe()
	if err != nil {
		return nil, "", err
	}
	if err := c.Start(); err != nil {
		return nil, "", err
	}
	defer func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		if e := c.Wait(); err == nil && e != nil {
			err = fmt.Errorf("the instrument: %w", e)
		}
	}()
	found := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(said)
		for lines.Scan() {
			if a := address.FindString(lines.Text()); a != "" && strings.Contains(lines.Text(), "web") {
				select {
				case found <- a:
				default:
				}
			}
		}
		_, _ = io.Copy(io.Discard, said)
		close(found)
	}()
	var at string
	select {
	case a, ok := <-found:
		if !ok {
			return nil, "", errors.New("the instrument ended without telling the address of its page")
		}
		at = a
	case <-time.After(time.Minute):
		return nil, "", errors.New("the instrument did not tell the address of its page within a minute")
	}
	tab, end := chromedp.NewContext(ctx)
	defer end()
	tab, cancel := context.WithTimeout(tab, 5*time.Minute)
	defer cancel()
	if err := chromedp.Run(tab, chromedp.EmulateViewport(int64(s.width), int64(s.height), chromedp.EmulateScale(s.scale)), chromedp.Navigate(at)); err != nil {
		return nil, "", err
	}
	if err := until(tab, 4*time.Minute, ready); err != nil {
		return nil, "", fmt.Errorf("the rack did not come to rest: %w", err)
	}
	if s.do != "" {
		if err := chromedp.Run(tab, chromedp.Evaluate(s.do, nil)); err != nil {
			return nil, "", err
		}
	}
	if err := chromedp.Run(tab, chromedp.Sleep(s.wait)); err != nil {
		return nil, "", err
	}
	// What is on the picture is what is so before it and after it.
	if err := until(tab, time.Minute, ready); err != nil {
		return nil, "", fmt.Errorf("the rack did not stay at rest: %w", err)
	}
	actions := []chromedp.Action{chromedp.ActionFunc(func(ctx context.Context) error {
		// As good as it can be within the limit.
		for quality := int64(82); ; quality -= 8 {
			b, err := page.CaptureScreenshot().WithFormat(page.CaptureScreenshotFormatWebp).WithQuality(quality).Do(ctx)
			if err != nil {
				return err
			}
			if picture = b; len(b) <= most || quality < 30 {
				return nil
			}
		}
	}), chromedp.Evaluate(trouble, &troubled)}
	if err := chromedp.Run(tab, actions...); err != nil {
		return nil, "", err
	}
	return picture, troubled, nil
}

// ready is an expression that tells whether the rack is at rest and on the
// screen: the page is linked and knows the rack, each panel is drawn and has
// its jacks, fonts and pictures are there, and the cluster has what was asked
// for, which is more than nothing where the scene has a Deployment.
const ready = `(() => {
  const t = window.rackTest, s = document.getElementById('state')
  if (!t?.model?.state || s?.dataset.word !== 'converged') return 'the page says ' + (s?.textContent || 'nothing')
  const [, have, want] = s.textContent.match(/(\d+)\/(\d+)/) ?? [0, 0, -1]
  const claims = t.model.state.modules.filter(m => m.kind === 'deployment' || m.id?.startsWith('deployment/')).length
  if (have !== want || claims && want === '0') return have + ' of ' + want + ' pods'
  const panels = [...document.querySelectorAll('.module')]
  if (panels.length < t.model.state.modules.length) return panels.length + ' panels of ' + t.model.state.modules.length
  if (!t.drawn()) return 'panels are not drawn'
  if (document.fonts.status !== 'loaded') return 'fonts are on their way'
  if ([...document.images].some(i => !i.complete || !i.naturalWidth)) return 'pictures are on their way'
  return 'ready'
})()`

// trouble is an expression for what a picture must not show, or empty: a
// problem in the ticker, sound that was late, a word other than converged.
const trouble = `(() => {
  const said = document.getElementById('ticker')
  if (said?.className === 'kind-problem') return said.textContent
  if (document.getElementById('state')?.dataset.word !== 'converged') return document.getElementById('state')?.textContent ?? 'no state'
  return (document.getElementById('figures')?.textContent.match(/\d+ underruns/) ?? [''])[0]
})()`

// until waits until an expression is "ready", for two looks in a row; what it
// was at last is in the error.
func until(ctx context.Context, limit time.Duration, js string) error {
	last, in := "", 0
	for end := time.Now().Add(limit); ; time.Sleep(400 * time.Millisecond) {
		// The door sends the page on once, and what ran in it is gone then.
		err := chromedp.Run(ctx, chromedp.Evaluate(js, &last))
		if err == nil && last == "ready" {
			if in++; in == 2 {
				return nil
			}
			continue
		}
		in = 0
		if time.Now().After(end) || ctx.Err() != nil {
			return errors.Join(fmt.Errorf("within %s: %s", limit, last), err, ctx.Err())
		}
	}
}

// most is how large a picture may be that ships with the program.
const most = 150_000
