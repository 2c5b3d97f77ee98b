package rack

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// Module is one module of the rack as it is patched.
type Module struct {
	ID      string
	HP      int
	Current [rails]int // mA
	// Row and At are where it stands in the patch, in rows and HP from 0; Row is
	// -1 where that is open.
	Row, At int
}

// Modules returns the modules of a patch by their declarations. The function
// place tells where a module stands; nil leaves all open.
func Modules(p *instrument.Patch, place func(instrument.ModuleID) (row, at int, ok bool)) []Module {
	all := make([]Module, 0, len(p.Modules))
	for i := range p.Modules {
		s := p.Modules[i].Spec()
		if s == nil {
			continue
		}
		m := Module{ID: string(p.Modules[i].ID), HP: s.HP, Current: [rails]int{s.Plus12, s.Minus12, s.Plus5}, Row: -1}
		if place != nil {
			if row, at, ok := place(p.Modules[i].ID); ok {
				m.Row, m.At = row, at
			}
		}
		all = append(all, m)
	}
	return all
}

// RailReport is one rail with what the modules draw from it.
type RailReport struct {
	Rail    string `json:"rail"`
	Running int    `json:"running_ma"` // what all modules draw
	Limit   int    `json:"limit_ma"`   // what may be drawn for good: Current, derated
	Current int    `json:"current_ma"` // what the supply gives for good
	Start   int    `json:"start_ma"`   // what all modules draw as they start
	Peak    int    `json:"peak_ma"`    // what the supply gives for that moment
	// Headroom is what is left of the narrower of the two, in mA of running
	// current; negative is missing.
	Headroom int  `json:"headroom_ma"`
	Sure     Sure `json:"sure"`
	// Worst is the module that draws most, empty where none draws any.
	Worst   string `json:"worst,omitempty"`
	WorstMA int    `json:"worst_ma,omitempty"`

	minimum int
}

// used is the share of what may be drawn, 1 is all.
func (r *RailReport) used() float64 {
	if r.Running == 0 {
		return 0
	}
	if r.Limit == 0 {
		return math.Inf(1)
	}
	return float64(r.Running) / float64(r.Running+r.Headroom)
}

// Placed is a module in a row.
type Placed struct {
	ID string `json:"id"`
	HP int    `json:"hp"`
	At int    `json:"at"` // HP of its left edge
}

// Row is a row of the case.
type Row struct {
	HP      int      `json:"hp"`
	Used    int      `json:"used"`
	Modules []Placed `json:"modules"`
}

// Report is what an audit finds.
type Report struct {
	Supply  string       `json:"supply"`
	Title   string       `json:"title"`
	Fits    bool         `json:"fits"`
	Verdict string       `json:"verdict"` // one line
	Modules int          `json:"modules"`
	Rails   []RailReport `json:"rails"`
	HP      int          `json:"hp"`       // of all modules
	RowsHP  int          `json:"rows_hp"`  // of all rows; 0 where the supply is no case
	Rows    []Row        `json:"rows"`     // where the modules would go
	LeftOut []Placed     `json:"left_out"` // those that have no room
	// AsPatched tells that the modules stand in the rows as they do in the patch.
	AsPatched  bool `json:"as_patched"`
	HPSure     Sure `json:"hp_sure,omitempty"`
	NeedHeads  int  `json:"headers_needed"`
	Headers    int  `json:"headers"` // 0 is unknown
	HeaderSure Sure `json:"headers_sure,omitempty"`
	// Worst draws the largest share of the rail that is nearest to its end.
	Worst    string   `json:"worst,omitempty"`
	Warnings []string `json:"warnings,omitempty"`

	inrush float64
}

// Audit compares modules with the supply.
func (s *Supply) Audit(modules []Module) *Report {
	r := &Report{Supply: s.Name, Title: s.Title, Modules: len(modules), RowsHP: s.HP(), Headers: s.Headers, inrush: s.Inrush,
		Rows: []Row{}, LeftOut: []Placed{}}
	if r.RowsHP > 0 {
		r.HPSure = s.RowsSure
	}
	if s.Headers > 0 {
		r.HeaderSure = s.HeadersSure
	}
	for i := range s.Rails {
		rail := &s.Rails[i]
		x := RailReport{Rail: RailNames[i], Current: rail.Current, Peak: rail.Peak, Sure: rail.Sure, minimum: rail.Minimum,
			Limit: int(math.Floor(float64(rail.Current)*rail.Derate + 1e-9))}
		for _, m := range modules {
			x.Running += m.Current[i]
			if m.Current[i] > x.WorstMA {
				x.Worst, x.WorstMA = m.ID, m.Current[i]
			}
		}
		x.Start = int(math.Ceil(float64(x.Running)*s.Inrush - 1e-9))
		x.Headroom = min(x.Limit, int(math.Floor(float64(rail.Peak)/s.Inrush+1e-9))) - x.Running
		if rail.Minimum > 0 && x.Running < rail.Minimum {
			r.Warnings = append(r.Warnings, fmt.Sprintf("%s wants to give at least %d mA to be stable, the modules draw %d", x.Rail, rail.Minimum, x.Running))
		}
		r.Rails = append(r.Rails, x)
	}
	for _, m := range modules {
		r.HP += m.HP
		if m.Current != [rails]int{} {
			r.NeedHeads++
		}
	}
	if len(s.Rows) > 0 {
		r.Rows, r.LeftOut, r.AsPatched = place(modules, s.Rows)
	}
	r.judge()
	return r
}

// judge writes the verdict.
func (r *Report) judge() {
	var wrong []string
	tightest := -1
	for i := range r.Rails {
		x := &r.Rails[i]
		if x.Running > 0 && (tightest < 0 || x.used() > r.Rails[tightest].used()) {
			tightest = i
		}
		switch {
		case x.Running == 0 || x.Headroom >= 0:
		case x.Current == 0:
			wrong = append(wrong, fmt.Sprintf("there is no %s, of which %d mA are drawn", x.Rail, x.Running))
		case x.Running > x.Limit:
			wrong = append(wrong, fmt.Sprintf("%s lacks %d mA", x.Rail, -x.Headroom))
		default:
			wrong = append(wrong, fmt.Sprintf("%s lacks %d mA at the start", x.Rail, x.Start-x.Peak))
		}
	}
	if tightest >= 0 {
		r.Worst = r.Rails[tightest].Worst
	}
	if n := len(r.LeftOut); n > 0 {
		hp := 0
		for _, m := range r.LeftOut {
			hp += m.HP
		}
		wrong = append(wrong, fmt.Sprintf("%s (%d HP) %s no room", count(n, "module"), hp, has(n)))
	}
	if r.Headers > 0 && r.NeedHeads > r.Headers {
		n := r.NeedHeads - r.Headers
		wrong = append(wrong, fmt.Sprintf("%s %s missing", count(n, "header"), are(n)))
	}
	if r.Fits = len(wrong) == 0; !r.Fits {
		r.Verdict = "does NOT fit: " + strings.Join(wrong, "; ")
		return
	}
	var good []string
	if tightest >= 0 {
		good = append(good, fmt.Sprintf("%s has %d mA to spare", r.Rails[tightest].Rail, r.Rails[tightest].Headroom))
	}
	if r.RowsHP > 0 {
		good = append(good, fmt.Sprintf("%d HP are free", r.RowsHP-r.HP))
	}
	if r.Headers > 0 {
		n := r.Headers - r.NeedHeads
		good = append(good, fmt.Sprintf("%s %s free", count(n, "header"), are(n)))
	}
	r.Verdict = "fits"
	if len(good) > 0 {
		r.Verdict += ": " + strings.Join(good, ", ")
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func has(n int) string {
	if n == 1 {
		return "has"
	}
	return "have"
}

func are(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// place puts modules into rows: where the patch has them, if they can stand
// there, or else wherever all of them fit. What has no room is left out.
func place(modules []Module, widths []int) (rows []Row, left []Placed, asPatched bool) {
	in := make([]int, len(modules)) // row of each, -1 none
	if asPatched = standing(modules, widths); asPatched {
		for i := range modules {
			in[i] = modules[i].Row
		}
	} else {
		in = pack(modules, widths)
	}
	left = []Placed{}
	for row, hp := range widths {
		r := Row{HP: hp, Modules: []Placed{}}
		var here []int
		for i := range modules {
			if in[i] == row {
				here = append(here, i)
			}
		}
		// In a row the order is that of the patch.
		slices.SortStableFunc(here, func(a, b int) int {
			x, y := modules[a], modules[b]
			return cmp.Or(cmp.Compare(uint(x.Row), uint(y.Row)), cmp.Compare(x.At, y.At))
		})
		for _, i := range here {
			at := r.Used
			if asPatched {
				at = modules[i].At
			}
			r.Modules = append(r.Modules, Placed{modules[i].ID, modules[i].HP, at})
			r.Used += modules[i].HP
		}
		rows = append(rows, r)
	}
	for i := range modules {
		if in[i] < 0 {
			left = append(left, Placed{ID: modules[i].ID, HP: modules[i].HP})
		}
	}
	return rows, left, asPatched
}

// standing tells whether all modules can stand where the patch has them.
func standing(modules []Module, widths []int) bool {
	type span struct{ row, from, to int }
	var spans []span
	for _, m := range modules {
		if m.Row < 0 || m.Row >= len(widths) || m.At < 0 || m.At+m.HP > widths[m.Row] {
			return false
		}
		for _, s := range spans {
			if s.row == m.Row && m.At < s.to && s.from < m.At+m.HP {
				return false
			}
		}
		spans = append(spans, span{m.Row, m.At, m.At + m.HP})
	}
	return true
}

// packSteps bounds the search of pack; what is not found within it is left out
// although there may be a way.
const packSteps = 200_000

// pack finds a row for each module without splitting any, the wide ones first
// and each near its row in the patch. If not all fit it takes what first fit
// leaves out.
func pack(modules []Module, widths []int) []int {
	order := make([]int, len(modules))
	total, most := 0, 0
	for i := range order {
		order[i] = i
		total += modules[i].HP
	}
	for _, w := range widths {
		most += w
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(modules[b].HP, modules[a].HP) })
	in := make([]int, len(modules))
	for i := range in {
		in[i] = -1
	}
	free := slices.Clone(widths)
	steps := 0
	failed := map[string]bool{} // rooms that came to nothing, by how many modules had them left
	var all func(k int) bool
	all = func(k int) bool {
		if k == len(order) {
			return true
		}
		if steps++; steps > packSteps {
			return false
		}
		rooms := slices.Clone(free)
		slices.Sort(rooms)
		state := fmt.Sprint(k, rooms)
		if failed[state] {
			return false
		}
		i := order[k]
		var tried []int
		for _, row := range nearRows(modules[i].Row, len(widths)) {
			if free[row] < modules[i].HP || slices.Contains(tried, free[row]) {
				continue // a row with as much room came to nothing
			}
			tried = append(tried, free[row])
			free[row] -= modules[i].HP
			in[i] = row
			if all(k + 1) {
				return true
			}
			free[row] += modules[i].HP
			in[i] = -1
		}
		failed[state] = true
		return false
	}
	if total <= most && all(0) {
		return in
	}
	copy(free, widths)
	for i := range in {
		in[i] = -1
	}
	for _, i := range order {
		for _, row := range nearRows(modules[i].Row, len(widths)) {
			if free[row] >= modules[i].HP {
				free[row] -= modules[i].HP
				in[i] = row
				break
			}
		}
	}
	return in
}

// nearRows lists n rows, that of the patch first.
func nearRows(row, n int) []int {
	all := make([]int, 0, n)
	if row >= 0 && row < n {
		all = append(all, row)
	}
	for i := range n {
		if i != row {
			all = append(all, i)
		}
	}
	return all
}

// bar draws have of all, with a mark at limit.
func bar(have, limit, all float64, width int) string {
	if all <= 0 {
		all = max(have, 1)
		limit = 0
	}
	full := int(math.Round(have / all * float64(width)))
	mark := int(math.Round(limit / all * float64(width)))
	var b strings.Builder
	for i := range width {
		switch {
		case i == width-1 && full > width:
			b.WriteRune('▶')
		case i == mark && mark < width:
			b.WriteRune('┃')
		case i < full:
			b.WriteRune('█')
		default:
			b.WriteRune('·')
		}
	}
	return b.String()
}

const barWidth = 30

// WriteText writes the report for a terminal; the verdict is its last line.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s)\n%s, %d HP\n\n", r.Title, r.Supply, count(r.Modules, "module"), r.HP)
	for i := range r.Rails {
		x := &r.Rails[i]
		if x.Running == 0 && x.Current == 0 {
			continue
		}
		fmt.Fprintf(&b, "%-6s ▕%s▏ %d of %d mA in use, %d of %d at the start", x.Rail, bar(float64(x.Running), float64(x.Limit), float64(x.Current), barWidth), x.Running, x.Limit, x.Start, x.Peak)
		if x.Headroom >= 0 {
			fmt.Fprintf(&b, "; %d to spare", x.Headroom)
		} else {
			fmt.Fprintf(&b, "; %d MISSING", -x.Headroom)
		}
		fmt.Fprintf(&b, "  [%s]\n", x.Sure)
	}
	if r.RowsHP > 0 {
		fmt.Fprintf(&b, "%-6s ▕%s▏ %d of %d HP  [%s]\n", "width", bar(float64(r.HP), float64(r.RowsHP), float64(r.RowsHP), barWidth), r.HP, r.RowsHP, r.HPSure)
	}
	if r.Headers > 0 {
		fmt.Fprintf(&b, "%-6s ▕%s▏ %d of %d with 16 pins  [%s]\n", "header", bar(float64(r.NeedHeads), float64(r.Headers), float64(r.Headers), barWidth), r.NeedHeads, r.Headers, r.HeaderSure)
	} else {
		fmt.Fprintf(&b, "%-6s %d with 16 pins are needed; how many there are is not known\n", "header", r.NeedHeads)
	}
	fmt.Fprintln(&b, "the bar is what the supply gives for good, ┃ how much of it may be in use; a start draws", fmt.Sprintf("%g", r.inrush), "times that")
	for i := range r.Rails {
		if x := &r.Rails[i]; x.Worst != "" {
			fmt.Fprintf(&b, "\nmost of %s: %s, %d mA (%d %%)", x.Rail, x.Worst, x.WorstMA, (100*x.WorstMA+x.Running/2)/x.Running)
		}
	}
	b.WriteString("\n")
	if len(r.Rows) > 0 {
		how := "packed anew, since they cannot stand as in the patch"
		if r.AsPatched {
			how = "as in the patch"
		}
		fmt.Fprintf(&b, "\nrows, %s:\n", how)
		for i, row := range r.Rows {
			fmt.Fprintf(&b, "%d  %d of %d HP", i+1, row.Used, row.HP)
			for k, m := range row.Modules {
				if k%4 == 0 {
					b.WriteString("\n   ")
				}
				fmt.Fprintf(&b, " %3d %-22s", m.At, m.ID)
			}
			b.WriteString("\n")
		}
		for _, m := range r.LeftOut {
			fmt.Fprintf(&b, "no room for %s (%d HP)\n", m.ID, m.HP)
		}
	}
	for _, s := range r.Warnings {
		fmt.Fprintf(&b, "note: %s\n", s)
	}
	fmt.Fprintf(&b, "\n%s\n", r.Verdict)
	var lines []string
	for line := range strings.Lines(b.String()) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
	return err
}
