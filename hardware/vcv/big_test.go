package vcv

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestLargest reads and writes the largest patch that there may be, with every
// cable in the same few inputs, in a bearable time.
func TestLargest(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"version":"2.6.0","modules":[`)
	for i := range MaxModules {
		if i > 0 {
			b.WriteByte(',')
		}
		model := []string{"VCO", "VCA", "LFO", "Nobody"}[i%4]
		fmt.Fprintf(&b, `{"id":%d,"plugin":"Fundamental","model":"%s","version":"2.0.0","params":[],"pos":[%d,0]}`, i, model, i*10)
	}
	b.WriteString(`],"cables":[`)
	for i := range MaxCables {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":%d,"outputModuleId":%d,"outputId":%d,"inputModuleId":%d,"inputId":%d}`, i, i%400, i%4, i%300, i%3)
	}
	b.WriteString(`]}`)
	began := time.Now()
	i := imported(t, read(t, []byte(b.String())))
	f, _, err := Export(i.Patch, i.Places, through(t, i.Extra))
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	if took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if len(f.modules) != MaxModules || len(f.cables) != MaxCables {
		t.Errorf("%d modules, %d cables", len(f.modules), len(f.cables))
	}
	t.Logf("%d modules and %d cables in %v", len(i.Patch.Modules), len(i.Patch.Cables), took)
}
