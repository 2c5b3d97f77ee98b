package backplane

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocument holds BACKPLANE.md to the code.
func TestDocument(t *testing.T) {
	data, err := os.ReadFile("BACKPLANE.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	kinds := map[string]int{"Hello": kindHello, "Identify": kindIdentify, "Describe": kindDescribe, "Control": kindControl, "Bind": kindBind, "Bound": kindBound,
		"Values": kindValues, "Edges": kindEdges, "Outputs": kindOutputs, "Ack": kindAck, "Alive": kindAlive, "Fault": kindFault, "Bye": kindBye}
	rows := regexp.MustCompile(`(?m)^\| 0x([0-9a-f]{2}) \| (daemon|panel) \| (\w+) \|`).FindAllStringSubmatch(text, -1)
	if len(rows) != len(kinds) {
		t.Errorf("%d messages are described of %d", len(rows), len(kinds))
	}
	for _, r := range rows {
		k, ok := kinds[r[3]]
		if !ok || fmt.Sprintf("%02x", k) != r[1] || (k&0x40 != 0) != (r[2] == "panel") {
			t.Errorf("%s is 0x%s from a %s; in the code it is 0x%02x", r[3], r[1], r[2], k)
		}
	}
	for c := Class(1); c < 32; c++ {
		is := ""
		switch {
		case c.IsValue():
			is = "value"
		case c.IsGate():
			is = "gate"
		case c.IsOutput():
			is = "output"
		default:
			continue
		}
		if row := fmt.Sprintf("| %d | %s | %s |", c, c, is); !strings.Contains(text, row) {
			t.Errorf("no row %q", row)
		}
	}
	for c := FaultCode(1); c.String() != FaultCode(255).String(); c++ {
		if row := fmt.Sprintf("| %d | %s", c, c); !strings.Contains(text, row) {
			t.Errorf("no row %q", row)
		}
	}
	payload := []byte{0x01, 0x44, 0x33, 0x22, 0x11, 0x01, 0x00}
	for _, want := range []string{
		fmt.Sprintf("1 … %d bytes", MaxPayload), fmt.Sprintf("at most %d in a name or a kind, %d in a module id", MaxName, MaxModule),
		fmt.Sprintf("hears nothing for %d ms, the panel nothing for %d ms", DaemonPatience/1000, PanelPatience/1000),
		fmt.Sprintf("at least every %d ms", KeepAlive/1000), fmt.Sprintf("Hello every %d ms", helloInterval/1000), fmt.Sprintf("asking again after %d ms", askInterval/1000),
		fmt.Sprintf("not acknowledged after %d ms is sent again, from the oldest on; after %d ms", Again/1000, AgainSoon/1000),
		fmt.Sprintf("keeps up to %d that are not acknowledged, and sends them in order, up to %d", edgeQueue, edgeBurst),
		fmt.Sprintf("at least %d ms apart", ValueInterval/1000), fmt.Sprintf("one byte every %d µs", pace), fmt.Sprintf("Of the last %d it believes", clockSamples),
		fmt.Sprintf("asks again every %d s", foreignAgain/1_000_000), fmt.Sprintf("up to %d of each", MaxGates),
		fmt.Sprintf("Version of the protocol: %d.", Protocol),
		fmt.Sprintf("| Serial | `% X` |", Append(Serial, nil, payload)), fmt.Sprintf("| SysEx | `% X` |", Append(SysEx, nil, payload)),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q", want)
		}
	}
}
