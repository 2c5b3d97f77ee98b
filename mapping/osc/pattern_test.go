package osc

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no string // addresses, separated by spaces
	}{
		{"/a", "/a", "/ /b /ab /a/b /a/"},
		{"/a/b", "/a/b", "/a /a/bc /x/a/b /a/b/c"},
		{"/?", "/a /b", "/ab / /a/b"},
		{"/a?c", "/abc /axc", "/ac /abbc /a/c"},
		{"/*", "/a /abc", "/a/b"},
		{"/*/b", "/a/b /x/b", "/b /a/x/b /a/bc"},
		{"/a*", "/a /abc", "/ba /a/b"},
		{"/*a*b", "/ab /xaxb /aab /abab", "/ba /aba"},
		{"/[a-c]x", "/ax /cx", "/dx /x /abx"},
		{"/[!a-c]x", "/dx /-x", "/ax /x"},
		{"/[a-]", "/a /-", "/b"},
		{"/[!!]", "/a", "/!"},
		{"/[a!]", "/a /!", "/b"},
		{"/[abx-z]", "/a /b /x /y /z", "/c /w"},
		{"/{foo,bar}", "/foo /bar", "/fo /foobar /foo,bar"},
		{"/{a,ab}{c,bc}", "/ac /abc /abbc", "/ab /abcc"},
		{"/x{,y}", "/x /xy", "/xyy"},
		{"/{a,b}*[0-9]", "/a1 /bxx2", "/a /c1"},
		{"/pod-{1,2}/cpu", "/pod-1/cpu /pod-2/cpu", "/pod-3/cpu /pod-1/mem"},
		{"//b", "/b /a/b /a/x/b", "/a/bc /b/a"},
		{"/a//b", "/a/b /a/x/b /a/x/y/b /a/b/b", "/b /x/a/b /a/b/c"},
		{"//*", "/a /a/b /a/b/c", ""},
		{"/a//b//c", "/a/b/c /a/x/b/y/c /a/b/b/c/c", "/a/c /a/b /b/c"},
		{"//a/b", "/a/b /x/a/b /a/a/b", "/a/x/b"},
		{"/a,b", "/a,b", "/a"},
		{"/a-z", "/a-z", "/b"},
	} {
		p, err := ParsePattern([]byte(c.pattern))
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		for _, a := range strings.Fields(c.yes) {
			if !p.Match(a) {
				t.Errorf("%s does not match %s", c.pattern, a)
			}
		}
		for _, a := range strings.Fields(c.no) {
			if p.Match(a) {
				t.Errorf("%s matches %s", c.pattern, a)
			}
		}
	}
}

func TestMatchUnder(t *testing.T) {
	for _, c := range []struct {
		pattern, address string
		want             bool
	}{
		{"/*", "/a/b/c", true}, {"/a", "/a", true}, {"/a", "/a/b", true}, {"/a", "/ab", false},
		{"/a/*", "/a", false}, {"/a/*", "/a/b/c", true}, {"//b", "/a/b/c", true}, {"//b", "/a/c", false}, {"/{a,b}", "/b/x", true},
	} {
		p, err := ParsePattern([]byte(c.pattern))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.MatchUnder(c.address); got != c.want {
			t.Errorf("%s under %s: %v", c.address, c.pattern, got)
		}
	}
}

func TestInvalidPatterns(t *testing.T) {
	for pattern, text := range map[string]string{
		"": "offset 0: expected a '/'", "a": "offset 0: expected a '/'", "/": "offset 1: expected a name", "/a/": "offset 3: expected a name",
		"/a//": "expected a name", "///a": "expected a name after '//'", "/[": "offset 2: expected a ']'", "/[a": "offset 3: expected a ']'",
		"/[]": "expected a character", "/[!]": "expected a character", "/[z-a]": "from the lower", "/[a/b]": "offset 3",
		"/[a-": "expected a ']'", "/{": "offset 2: expected a '}'", "/{a,b": "expected a '}'", "/{a{b}}": "plain text",
		"/{a/b}": "plain text", "/{a*}": "plain text", "/a]": "offset 2: expected an opening", "/a}": "opening",
		"/[a[]": "plain character", "/" + strings.Repeat("a", MaxAddress): "at most 1023",
	} {
		if _, err := ParsePattern([]byte(pattern)); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v, want %q", pattern, err, text)
		}
	}
}

// The worst patterns that fit are decided in bounded time.
func TestPatternTimeIsBounded(t *testing.T) {
	long := "/" + strings.Repeat("a", MaxAddress-1)
	parts := strings.Repeat("/a", MaxAddress/2)
	for name, c := range map[string]struct{ pattern, address string }{
		"stars":        {"/" + strings.Repeat("*a", (MaxAddress-3)/2) + "b", long},
		"alternatives": {"/" + strings.Repeat("{a,aa}", (MaxAddress-2)/6) + "b", long},
		"both":         {"/" + strings.Repeat("*{a,aa}", (MaxAddress-2)/7) + "b", long},
		"empty":        {"/" + strings.Repeat("{,a}", (MaxAddress-2)/4) + "b", long},
		"descents":     {strings.Repeat("//a", (MaxAddress-2)/3) + "/b", parts},
		"one descent":  {"//" + strings.Repeat("a/", MaxAddress/4) + "b", parts},
		"one star":     {"/*" + strings.Repeat("a", MaxAddress/2) + "b", long},
		"descents, *":  {strings.Repeat("//*", (MaxAddress-2)/3) + "/b", parts},
	} {
		p, err := ParsePattern([]byte(c.pattern))
		if err != nil {
			t.Fatal(name, err)
		}
		start := time.Now()
		if p.Match(c.address) {
			t.Errorf("%s: matches", name)
		}
		// Backtracking would need longer than the universe has; 2 s is for slow machines.
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("%s: took %v", name, d)
		} else {
			t.Logf("%s: %v", name, d)
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	text := []byte("/dep*/{web,db}//re[a-z]licas")
	if n := testing.AllocsPerRun(100, func() {
		p, err := ParsePattern(text)
		if err != nil || !p.Match("/deployment/web/x/replicas") || p.Match("/deployment/web/x/replica") {
			t.Error("wrong")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// reference translates a valid pattern to an anchored regular expression, one
// character after the other: slow, and written in another way than Match.
func reference(pattern string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '/':
			if strings.HasPrefix(pattern[i:], "//") {
				b.WriteString(`(?:/[^/]+)*/`)
				i++
				continue
			}
			b.WriteString("/")
		case '?':
			b.WriteString("[^/]")
		case '*':
			b.WriteString("[^/]*")
		case '{':
			end := strings.IndexByte(pattern[i:], '}') + i
			var quoted []string
			for _, s := range strings.Split(pattern[i+1:end], ",") {
				quoted = append(quoted, regexp.QuoteMeta(s))
			}
			b.WriteString("(?:" + strings.Join(quoted, "|") + ")")
			i = end
		case '[':
			end := strings.IndexByte(pattern[i:], ']') + i
			set := pattern[i+1 : end]
			negated := strings.HasPrefix(set, "!")
			set = strings.TrimPrefix(set, "!")
			var members [128]bool
			for len(set) > 0 {
				if len(set) >= 3 && set[1] == '-' {
					for c := set[0]; c <= set[2]; c++ {
						members[c] = true
					}
					set = set[3:]
					continue
				}
				members[set[0]] = true
				set = set[1:]
			}
			var allowed []string
			for c := byte('!'); c <= '~'; c++ {
				if c != '/' && members[c] != negated {
					allowed = append(allowed, regexp.QuoteMeta(string(rune(c))))
				}
			}
			if len(allowed) == 0 {
				allowed = []string{`[^\x00-\x{10ffff}]`}
			}
			b.WriteString("(?:" + strings.Join(allowed, "|") + ")")
			i = end
		default:
			b.WriteString(regexp.QuoteMeta(string(rune(c))))
		}
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String())
}

// Short patterns of few characters meet short addresses of few characters, so
// that all the ways to match come up.
func TestPatternAgainstReference(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	tokens := []string{"/", "/", "//", "a", "b", "a", "*", "?", "[ab]", "[!a]", "[a-b]", "{a,ab}", "{,b}", "{b,ba,bab}"}
	valid, matched := 0, 0
	for range 20000 {
		pattern, address := "/", "/"
		for range 1 + rng.IntN(7) {
			pattern += tokens[rng.IntN(len(tokens))]
		}
		p, err := ParsePattern([]byte(pattern))
		if err != nil {
			continue
		}
		valid++
		r := reference(pattern)
		for range 20 {
			address = "/"
			for range 1 + rng.IntN(7) {
				address += []string{"a", "b", "a", "b", "/"}[rng.IntN(5)]
			}
			if CheckAddress(address) != nil {
				continue
			}
			want := r.MatchString(address)
			if want {
				matched++
			}
			if got := p.Match(address); got != want {
				t.Fatalf("%q matches %q: %v, the reference says %v", pattern, address, got, want)
			}
		}
	}
	if valid < 5000 || matched < 5000 {
		t.Errorf("%d valid patterns and %d matches, which proves little", valid, matched)
	}
	t.Logf("%d patterns, %d matches", valid, matched)
}

func FuzzPattern(f *testing.F) {
	for _, s := range [][2]string{
		{"/a/b", "/a/b"}, {"/?*[a-z]{x,y}", "/abcx"}, {"//b", "/a/b"}, {"/a//b//c", "/a/b/x/b/c"}, {"/{a,aa}{a,aa}{a,aa}", "/aaaa"},
		{"/*a*a*", "/baab"}, {"/[!a]*", "/bc"}, {"/[", "/a"}, {"/{,a}{b,}", "/b"}, {"//*/{a,b}//*", "/x/a/y/z"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, address string) {
		p, err := ParsePattern([]byte(pattern))
		if err != nil || checkAddressBytes(pattern) != nil || CheckAddress(address) != nil || len(pattern) > 60 {
			return
		}
		r := reference(pattern)
		if got, want := p.Match(address), r.MatchString(address); got != want {
			t.Fatalf("%q matches %q: %v, the reference says %v", pattern, address, got, want)
		}
		under := false
		for i := 1; i <= len(address); i++ {
			if i == len(address) || address[i] == '/' {
				under = under || r.MatchString(address[:i])
			}
		}
		if got := p.MatchUnder(address); got != under {
			t.Fatalf("%q is under %q: %v, the reference says %v", address, pattern, got, under)
		}
	})
}
