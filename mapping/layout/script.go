package layout

import (
	"fmt"
	"strings"
)

// The scripts are in Lua 5.1, as TouchOSC runs it. self is the control, root
// the whole layout; init is called once, update at each frame, the others when
// something happened.

// luaFigures writes a number as Binding.Show does.
const luaFigures = `local function figures(v, whole)
  local a, unit = math.abs(v), ''
  if a >= 9999.5 then v, a, unit, whole = v / 1000, a / 1000, 'k', false end
  local s = string.format((whole or a >= 99.95) and '%.0f' or a >= 9.995 and '%.1f' or '%.2f', v)
  if v < 0 and not s:find('[1-9]') then s = s:sub(2) end
  return s .. unit
end
`

// luaString quotes words.
func luaString(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, c := range []byte(s) {
		switch {
		case c == '\'' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ':
			fmt.Fprintf(&b, "\\%03d", c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

func luaStrings(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = luaString(w)
	}
	return "{ " + strings.Join(quoted, ", ") + " }"
}

// luaConnections names the OSC connection to send to; nil is all of them.
func (o *Options) luaConnections() string {
	if o.Connection == 0 {
		return "nil"
	}
	var on [10]string
	for i := range on {
		on[i] = fmt.Sprint(i+1 == o.Connection)
	}
	return "{ " + strings.Join(on[:], ", ") + " }"
}

// speaks tells whether a binding is sent and received by script, because a
// message alone cannot lay it under the finger or name it.
func (b *Binding) speaks() bool { return b.Exponential || b.Form == Word }

// steps tells whether a widget's own value counts steps: a Choice stands at 0,
// 1, 2 where a fader stands between 0 and 1.
func (w *Widget) steps() bool { return w.Kind == Choice }

// controlScript returns the script of a widget that has a value, empty where it
// needs none. It writes what the value is beside the widget. What speaks it
// also sends and receives: told is where the instrument put it, which is never
// sent back. Nothing that comes in moves a control under a finger.
func (l *Layout) controlScript(w *Widget) string {
	var body, begin, changed, let, receive strings.Builder
	figures := false
	for i := range w.Bind {
		b := &w.Bind[i]
		shows := i < len(w.Shows)
		speaks := b.speaks() && b.Send && !l.byMIDI(b)
		if !speaks && !shows {
			continue
		}
		k := [...]string{"x", "y"}[i]
		low, high := b.Min, b.Max
		if w.steps() {
			low, high = 0, 1
		}
		span := number(high - low)
		value, place := "x", "v"
		switch {
		case b.Exponential:
			value = fmt.Sprintf("%s * %s ^ x", number(low), number(high/low))
			place = fmt.Sprintf("math.log(v / %s) / math.log(%s)", number(low), number(high/low))
		case high <= low:
			value, place = number(low), "0"
		case low != 0 || high != 1:
			value, place = fmt.Sprintf("%s + %s * x", number(low), span), fmt.Sprintf("(v - %s) / %s", luaNegative(low), span)
		}
		whole := b.Form == Whole || b.Form == Word
		if whole {
			value = "math.floor(" + value + " + 0.5)"
		}
		fmt.Fprintf(&body, "local function value_%s(x) return %s end\n", k, value)
		if b.Form == Word {
			fmt.Fprintf(&body, "local words_%s = %s\n", k, luaStrings(b.Words))
		}
		if shows {
			text := ""
			if b.Form == Word {
				text = fmt.Sprintf("(words_%s[v + 1] or ''):gsub('_', ' ')", k)
			} else {
				figures = true
				text = fmt.Sprintf("figures(v, %t)", whole)
				if b.Unit != "" {
					text += " .. " + luaString(" "+shortUnit(b.Unit))
				}
			}
			fmt.Fprintf(&body, "local function show_%s()\n  local label, v = self.parent.children[%s], value_%s(self.values.%s)\n  if label then label.values.text = (%s) end\nend\n", k, luaString(w.Shows[i]), k, k, text)
			fmt.Fprintf(&begin, "  show_%s()\n", k)
		}
		fmt.Fprintf(&changed, "  if key == '%s' then\n", k)
		if shows {
			fmt.Fprintf(&changed, "    show_%s()\n", k)
		}
		if speaks {
			fmt.Fprintf(&body, "local told_%s, said_%s\n", k, k)
			sends := fmt.Sprintf("sendOSC({ %s, { { tag = 'f', value = v } } }, %s)", luaString(b.Address), l.options.luaConnections())
			if b.Form == Word {
				sends = fmt.Sprintf("if v ~= said_%s then said_%s = v sendOSC({ %s, { { tag = 's', value = words_%s[v + 1] } } }, %s) end", k, k, luaString(b.Address), k, l.options.luaConnections())
			}
			fmt.Fprintf(&changed, "    local x = self.values.%s\n    if not told_%s or math.abs(x - told_%s) >= 0.0001 then\n      told_%s = nil\n      local v = value_%s(x)\n      %s\n    end\n", k, k, k, k, k, sends)
			fmt.Fprintf(&receive, "  if message[1] == %s and a then\n    if self.values.touch then return true end\n    local v = a.value\n", luaString(b.Address))
			if b.Form == Word {
				fmt.Fprintf(&receive, "    for i, word in ipairs(words_%s) do if word == v then v = i - 1 end end\n", k)
			}
			fmt.Fprintf(&receive, "    if type(v) == 'number' then\n      v = math.max(%s, math.min(%s, v))\n      told_%s, said_%s = %s, v\n      self.values.%s = told_%s\n    end\n    return true\n  end\n", number(b.Min), number(b.Max), k, k, place, k, k)
		} else if b.Receive && w.Kind.Touch() {
			fmt.Fprintf(&receive, "  if message[1] == %s and self.values.touch then return true end\n", luaString(b.Address))
		}
		changed.WriteString("  end\n")
		if whole && (w.Kind == Fader || w.Kind == Knob || w.Kind == Pad) {
			fmt.Fprintf(&let, "    local v = value_%s(self.values.%s)\n    self.values.%s = %s\n", k, k, k, place)
		}
	}
	if changed.Len() == 0 {
		return ""
	}
	script := body.String()
	if figures {
		script = luaFigures + script
	}
	if begin.Len() > 0 {
		script += "function init()\n" + begin.String() + "end\n"
	}
	script += "function onValueChanged(key)\n" + changed.String()
	if let.Len() > 0 {
		script += "  if key == 'touch' and not self.values.touch then\n" + let.String() + "  end\n"
	}
	script += "end\n"
	if receive.Len() > 0 {
		script += "function onReceiveOSC(message)\n  local a = message[2][1]\n" + receive.String() + "  return false\nend\n"
	}
	return script
}

// luaNegative puts a negative number in brackets, where two signs would make a
// comment.
func luaNegative(v float64) string {
	if v < 0 {
		return "(" + number(v) + ")"
	}
	return number(v)
}

// countScript writes a number that is only read, with its unit.
func countScript(b *Binding) string {
	unit := ""
	if b.Unit != "" {
		unit = " " + shortUnit(b.Unit)
	}
	return luaFigures + fmt.Sprintf(`
function onReceiveOSC(message)
  local a = message[2][1]
  if message[1] ~= %s or not a or type(a.value) ~= 'number' then return false end
  self.values.text = figures(a.value, %t) .. %s
  return true
end
`, luaString(b.Address), b.Form == Whole, luaString(unit))
}

// errorScript writes why something was refused, and where.
const errorScript = `
function onReceiveOSC(message)
  if message[1] ~= '/error' then return false end
  local words = {}
  for _, a in ipairs(message[2]) do words[#words + 1] = tostring(a.value) end
  self.values.text = table.concat(words, ': ')
  return true
end
`

// phaseScript gives the box of a slot the colour of the pod's phase.
func phaseScript(w *Widget) string {
	var colors strings.Builder
	for _, word := range w.Bind[0].Words {
		c := phaseColors[word]
		fmt.Fprintf(&colors, "  [%s] = Color(%s, %s, %s, 1),\n", luaString(word), number(c.R), number(c.G), number(c.B))
	}
	return "local colors = {\n" + colors.String() + "}\n" + fmt.Sprintf(`
local function paint()
  local box = self.parent.children[%s]
  if box then box.color = colors[self.values.text] or colors[''] end
end
function init() paint() end
function onValueChanged(key)
  if key == 'text' then paint() end
end
`, luaString(w.Tints))
}

// armSeconds is how long a client is armed, as the instrument has it.
const armSeconds = 10

// guardTag is the tag of what is dead until the tablet is armed.
const guardTag = "guarded"

// armScript wakes what is guarded for as long as the instrument lets it act.
// The instrument itself refuses what comes from a client that is not armed;
// this only keeps a sleeve from trying.
func armScript() string {
	c := alarm
	return fmt.Sprintf(`
local till = nil
local function dare(on)
  for _, c in ipairs(root:findAllByProperty('tag', '%s', true)) do
    c.interactive = on
    c.color = Color(%s, %s, %s, on and 1 or 0.4)
  end
end
function init() dare(false) end
function onValueChanged(key)
  if key == 'x' and self.values.x > 0.5 then
    till = getMillis() + %d
    dare(true)
  end
end
function update()
  if till and getMillis() > till then
    till = nil
    dare(false)
  end
end
`, guardTag, number(c.R), number(c.G), number(c.B), armSeconds*1000)
}

// stepScript turns the pages by so many, round.
func (l *Layout) stepScript(step int) string {
	return fmt.Sprintf(`
function onValueChanged(key)
  if key == 'x' and self.values.x > 0.5 then
    local pager = root.children['%s']
    pager.values.page = (pager.values.page + %d) %% %d
  end
end
`, pagerName, step, len(l.Pages))
}

// pagerName is the name of the pager.
const pagerName = "pages"

// pagerScript writes which page is open.
func (l *Layout) pagerScript(title string) string {
	names := make([]string, len(l.Pages))
	for i := range l.Pages {
		names[i] = l.Pages[i].Name
	}
	return "local names = " + luaStrings(names) + fmt.Sprintf(`
local function show()
  local title = root.children[%s]
  if title then title.values.text = names[self.values.page + 1] or '' end
end
function init() show() end
function onValueChanged(key)
  if key == 'page' then show() end
end
`, luaString(title))
}

// subscribeScript asks the instrument to tell this tablet of every change. It
// asks again well before the instrument forgets, which is after a minute, and
// so finds an instrument that was started later.
func (l *Layout) subscribeScript() string {
	if l.options.ReplyPort == 0 {
		return ""
	}
	return fmt.Sprintf(`
local asked = nil
function update()
  local now = getMillis()
  if not asked or now - asked > 20000 then
    asked = now
    sendOSC({ '/subscribe', { { tag = 'i', value = %d } } }, %s)
  end
end
`, l.options.ReplyPort, l.options.luaConnections())
}
