package touchosc_test

import (
	"bytes"
	"compress/zlib"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping/layout"
	"github.com/k8s-synth/k8s-synth/mapping/layout/touchosc"
)

// small is a layout that has one of everything.
func small(t testing.TB) *touchosc.File {
	t.Helper()
	p := &instrument.Patch{Modules: []instrument.Module{{ID: "deployment/web"}, {ID: "vcf/one"}, {ID: "node/one"}}}
	l, err := layout.Build(p, "small", layout.Options{MIDI: layout.AlsoMIDI, ReplyPort: 9001})
	if err != nil {
		t.Fatal(err)
	}
	data, err := layout.WriteTosc(l)
	if err != nil {
		t.Fatal(err)
	}
	f, err := touchosc.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestMistakesAreToldWithTheirPlace makes a good file bad in one place.
func TestMistakesAreToldWithTheirPlace(t *testing.T) {
	xml := string(small(t).XML())
	// The part of the file that is one fader's.
	begin := strings.Index(xml, "<![CDATA[deployment/web/replicas]]>")
	begin = strings.LastIndex(xml[:begin], "<node ")
	end := begin + strings.Index(xml[begin:], "</node>") + len("</node>")
	fader := xml[begin:end]
	if !strings.Contains(fader, "type='FADER'") {
		t.Fatal("the fader is not where it was expected")
	}
	at := `GROUP "small"/PAGER "pages"/GROUP "play"/FADER "deployment/web/replicas"`
	for _, c := range []struct{ name, old, now, want string }{
		{"connections", "<connections>1111111111<", "<connections>11111<", at + `/messages[0]: connections are "11111", expected ten characters 0 or 1`},
		{"condition", "<condition>ANY<", "<condition>MAYBE<", `condition is "MAYBE", expected one of ANY, RISE, FALL`},
		{"trigger", "<var><![CDATA[x]]>", "<var><![CDATA[y]]>", `a trigger waits for "y"; a FADER has x, touch`},
		{"partial", "<type>CONSTANT</type><conversion>STRING", "<type>WISH</type><conversion>STRING", `type is "WISH"`},
		{"conversion", "<conversion>FLOAT<", "<conversion>DOUBLE<", `conversion is "DOUBLE"`},
		{"scale", "<scaleMax>16<", "<scaleMax>sixteen<", `scaleMax is "sixteen", expected a number`},
		{"not finite", "<scaleMax>16<", "<scaleMax>1e999<", `scaleMax is "1e999"`},
		{"unknown property", "<![CDATA[bar]]>", "<![CDATA[baz]]>", `a FADER has no property "baz"`},
		{"property's type", "<property type='b'><key><![CDATA[bar]]>", "<property type='i'><key><![CDATA[bar]]>", `properties[bar]: its type is "i", expected 'b'`},
		{"missing property", "<property type='b'><key><![CDATA[bar]]></key><value>1</value></property>", "", `bar is missing`},
		{"order of keys", "<property type='b'><key><![CDATA[background]]></key><value>1</value></property><property type='b'><key><![CDATA[bar]]></key><value>1</value></property>", "<property type='b'><key><![CDATA[bar]]></key><value>1</value></property><property type='b'><key><![CDATA[background]]></key><value>1</value></property>", `properties[background]: it comes after bar, expected the order of the keys`},
		{"range", "<![CDATA[orientation]]></key><value>0<", "<![CDATA[orientation]]></key><value>4<", `it is 4, expected 0 … 3`},
		{"boolean", "<![CDATA[visible]]></key><value>1<", "<![CDATA[visible]]></key><value>true<", `it is "true", expected 0 or 1`},
		{"frame", "<w>", "<w>-", `expected more than nothing`},
		{"color", "<r>0.3569<", "<r>91<", `r is 91, expected 0 … 1`},
		{"no CDATA", "<key><![CDATA[bar]]></key>", "<key>bar</key>", `key is not in CDATA`},
		{"value", "<values><value><key><![CDATA[x]]>", "<values><value><key><![CDATA[page]]>", `values[x]: its key is "page", expected "x"`},
		{"default", "<default><![CDATA[false]]>", "<default><![CDATA[0]]>", `its default is "0", expected false or true`},
		{"blank", "</properties><values>", "</properties> <values>", `expected <values>, got`},
		{"type", "type='FADER'", "type='SLIDER'", `there is no type "SLIDER"`},
		{"id", "ID='", "ID='x", `is not a UUID`},
		{"channel", "<channel>0<", "<channel>16<", `channel is 16, expected 0 … 15`},
		{"controller", "<type>CONTROLCHANGE<", "<type>CC<", `type is "CC"`},
		{"path", "<![CDATA[/deployment/web/replicas]]></value><scaleMin>", "<![CDATA[replicas]]></value><scaleMin>", `path begins with "replicas", expected a slash`},
		{"flag", "<feedback>0<", "<feedback>no<", `feedback is "no", expected 0 or 1`},
		{"missing part", "<noDuplicates>0</noDuplicates>", "", `expected <noDuplicates>`},
		{"character", "<key><![CDATA[x]]>", "<key><![CDATA[x\x01]]>", `holds the character U+0001`},
		{"children", "</messages></node>", "</messages><children>" + strings.ReplaceAll(fader, "ID='", "ID='") + "</children></node>", `a FADER has no children`},
	} {
		bad := strings.Replace(fader, c.old, c.now, 1)
		if bad == fader {
			t.Errorf("%s: %q is not in the fader", c.name, c.old)
			continue
		}
		_, err := touchosc.ReadXML([]byte(xml[:begin] + bad + xml[end:]))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nexpected %s", c.name, err, c.want)
		}
	}
	for _, c := range []struct{ name, old, now, want string }{
		{"version", "version='6'", "version='3'", "lexml: expected <lexml version='6'>"},
		{"includes", "<includes></includes>", "", "expected <includes></includes>"},
		{"end", "</lexml>", "</lexml> ", "1 bytes after </lexml>"},
		{"destination", "<dstVar><![CDATA[page]]>", "<dstVar><![CDATA[leaf]]>", `it goes to the value "leaf"; a PAGER has page, touch`},
		{"open page", "<key><![CDATA[page]]></key><locked>0</locked><lockedDefaultCurrent>0</lockedDefaultCurrent><default><![CDATA[0]]>", "<key><![CDATA[page]]></key><locked>0</locked><lockedDefaultCurrent>0</lockedDefaultCurrent><default><![CDATA[99]]>", "page 99 is open of"},
		{"two of one id", fader, fader + fader, "is of another node too"},
	} {
		_, err := touchosc.ReadXML([]byte(strings.Replace(xml, c.old, c.now, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nexpected %s", c.name, err, c.want)
		}
	}
}

func TestStream(t *testing.T) {
	good, err := small(t).Write()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"nothing": nil, "no stream": []byte("<?xml"), "cut": good[:len(good)/2], "more after it": append(bytes.Clone(good), 0), "sum": append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1)} {
		if _, err := touchosc.Read(data); err == nil || !strings.HasPrefix(err.Error(), "tosc: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var bomb bytes.Buffer
	z := zlib.NewWriter(&bomb)
	blank := make([]byte, 1<<20)
	for range 80 {
		_, _ = z.Write(blank)
	}
	_ = z.Close()
	if _, err := touchosc.Read(bomb.Bytes()); err == nil || !strings.Contains(err.Error(), "more than 64 MB") {
		t.Errorf("80 MB of nothing: %v", err)
	}
}

// check is what holds of any bytes: what is read is written to the byte.
func check(t *testing.T, xml []byte) {
	t.Helper()
	f, err := touchosc.ReadXML(xml)
	if err != nil {
		if !strings.HasPrefix(err.Error(), "tosc: ") {
			t.Errorf("an error without a beginning: %v", err)
		}
		return
	}
	again := f.XML()
	if !bytes.Equal(again, xml) {
		t.Fatalf("%q was written as %q", xml, again)
	}
	if g, err := touchosc.ReadXML(again); err != nil || !reflect.DeepEqual(f, g) {
		t.Fatalf("what was written is read otherwise: %v", err)
	}
}

// fragment is a file of a few nodes.
func fragment(t testing.TB) []byte {
	f := small(t)
	f.Root.Walk(func(n, _ *touchosc.Node) bool {
		if n.Type == "PAGER" {
			n.Children = n.Children[:1]
			n.Children[0].Children = n.Children[0].Children[:8]
		}
		return true
	})
	var kept []*touchosc.Node
	for _, c := range f.Root.Children {
		jump := false
		for _, m := range c.Messages {
			if _, ok := m.(*touchosc.Local); ok {
				jump = len(kept) > 4
			}
		}
		if !jump {
			kept = append(kept, c)
		}
	}
	f.Root.Children = kept
	return f.XML()
}

// seed is a file of very few nodes, which a fuzzer changes fast.
func seed(t testing.TB) *touchosc.File {
	f, err := touchosc.ReadXML(fragment(t))
	if err != nil {
		t.Fatal(err)
	}
	var kept []*touchosc.Node
	f.Root.Walk(func(n, _ *touchosc.Node) bool {
		if p := n.Property("script"); p != nil {
			p.Text = "function init() end\n"
		}
		switch n.Type {
		case "PAGER":
			for _, c := range n.Children[0].Children {
				if len(c.Messages) > 0 && len(kept) == 0 {
					kept = append(kept, c)
				}
			}
			n.Children[0].Children = kept
		}
		return true
	})
	f.Root.Children = f.Root.Children[1:3]
	return f
}

func FuzzReadXML(f *testing.F) {
	f.Add(seed(f).XML())
	f.Add([]byte("<?xml version='1.0' encoding='UTF-8'?><lexml version='6'></lexml>"))
	f.Fuzz(func(t *testing.T, xml []byte) { check(t, xml) })
}

func FuzzRead(f *testing.F) {
	data, err := seed(f).Write()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{0x78, 0x9c})
	f.Fuzz(func(t *testing.T, data []byte) {
		if g, err := touchosc.Read(data); err == nil {
			check(t, g.XML())
		}
	})
}

// TestRandomMistakes changes a few bytes of a good file at a time.
func TestRandomMistakes(t *testing.T) {
	good := fragment(t)
	check(t, good)
	mk1 := old(t)
	checkMk1(t, mk1)
	r := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		for i, of := range [][]byte{good, mk1} {
			bad := bytes.Clone(of)
			for range 1 + r.IntN(3) {
				at := r.IntN(len(bad))
				switch r.IntN(4) {
				case 0:
					bad[at] = byte(r.IntN(256))
				case 1:
					bad[at] = bad[r.IntN(len(bad))]
				case 2:
					bad = append(bad[:at], bad[min(len(bad), at+1+r.IntN(40)):]...)
				case 3:
					end := min(len(bad), at+1+r.IntN(200))
					bad = append(bad[:end:end], bad[at:]...)
				}
				if len(bad) == 0 {
					bad = []byte("<")
				}
			}
			if i == 0 {
				check(t, bad)
			} else {
				checkMk1(t, bad)
			}
		}
	}
}

// old is index.xml of a small .touchosc.
func old(t testing.TB) []byte {
	p := &instrument.Patch{Modules: []instrument.Module{{ID: "vcf/one"}}}
	l, err := layout.Build(p, "small", layout.Options{MIDI: layout.AlsoMIDI})
	if err != nil {
		t.Fatal(err)
	}
	data, err := layout.WriteTouchOSC(l)
	if err != nil {
		t.Fatal(err)
	}
	m, err := touchosc.ReadMk1(data)
	if err != nil {
		t.Fatal(err)
	}
	for i := range m.Pages {
		m.Pages[i].Controls = m.Pages[i].Controls[:min(len(m.Pages[i].Controls), 14)]
	}
	return m.XML()
}

func checkMk1(t *testing.T, xml []byte) {
	t.Helper()
	m, err := touchosc.ReadMk1XML(xml)
	if err != nil {
		return
	}
	if again := m.XML(); !bytes.Equal(again, xml) {
		t.Fatalf("%q was written as %q", xml, again)
	}
}

func FuzzReadMk1XML(f *testing.F) {
	m, err := touchosc.ReadMk1XML(old(f))
	if err != nil {
		f.Fatal(err)
	}
	m.Pages = m.Pages[:1]
	m.Pages[0].Controls = m.Pages[0].Controls[:4]
	f.Add(m.XML())
	f.Fuzz(func(t *testing.T, xml []byte) { checkMk1(t, xml) })
}

func TestMk1Mistakes(t *testing.T) {
	xml := string(old(t))
	for _, c := range []struct{ name, old, now, want string }{
		{"declaration", "<?xml", "<xml", "touchosc: layout: expected <?xml"},
		{"version", `version="17"`, `version="18"`, "version is 18, expected 1 … 17"},
		{"mode", `mode="3"`, `mode="1"`, "w and h belong to mode 3"},
		{"orientation", `orientation="vertical"`, `orientation="upright"`, `expected one of horizontal, vertical`},
		{"name", `<tabpage name="`, `<tabpage name="*`, "expected base64"},
		{"color", `color="red"`, `color="mauve"`, `color is "mauve"`},
		{"type", `type="push"`, `type="pull"`, `there is no type "pull"`},
		{"missing", ` sp="true"`, ``, "sp is missing"},
		{"unknown", ` sp="true"`, ` sp="true" sq="true"`, `there is no attribute "sq"`},
		{"twice", ` sp="true"`, ` sp="true" sp="true"`, `sp is there twice`},
		{"place", ` x="`, ` x="9`, "it stands out of the"},
		{"channel", ` channel="1"`, ` channel="0"`, "channel is 0, expected 1 … 16"},
		{"end", "</layout>", "", "expected"},
	} {
		bad := strings.Replace(xml, c.old, c.now, 1)
		if bad == xml {
			t.Errorf("%s: %q is not in the file", c.name, c.old)
		}
		if _, err := touchosc.ReadMk1XML([]byte(bad)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nexpected %s", c.name, err, c.want)
		}
	}
	if _, err := touchosc.ReadMk1([]byte("no zip")); err == nil {
		t.Error("a file that is no zip was read")
	}
}
