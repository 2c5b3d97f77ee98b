package web

import (
	"strings"
	"testing"
	"time"

	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/k8s-synth/k8s-synth/mapping/web/browser"
)

// However the page is opened, what opened it is neither in the bar of the
// browser nor in the history of its window, and nothing is sent on as the page
// from which one came.
func TestTokenLeavesTheBar(t *testing.T) {
	b := chromium(t)
	r := startRack(t, bigRack(4, 4), Config{})
	for _, at := range []string{r.server.URL(), r.server.Ticket()} {
		p, err := b.Open(browser.Desk)
		must(t, err)
		must(t, p.Go(at))
		must(t, p.Ready(20*time.Second))
		var bar, came string
		must(t, p.Eval("location.href", &bar))
		must(t, p.Eval("document.referrer", &came))
		var now int64
		var entries []*cdppage.NavigationEntry
		must(t, p.Do(chromedp.NavigationEntries(&now, &entries)))
		secret := at[strings.Index(at, "=")+1:]
		for _, e := range entries {
			if strings.Contains(e.URL, secret) {
				t.Errorf("the history has %s", e.URL)
			}
		}
		if !strings.HasSuffix(bar, "/") || strings.Contains(bar, secret) || strings.Contains(came, secret) {
			t.Errorf("opened by %s the bar has %q, and one came from %q", at, bar, came)
		}
		p.Close()
	}
}
