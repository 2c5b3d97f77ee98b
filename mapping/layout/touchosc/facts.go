package touchosc

import "slices"

// The types of a property.
const (
	typeString  = 's'
	typeBoolean = 'b'
	typeInteger = 'i'
	typeFloat   = 'f'
	typeFrame   = 'r'
	typeColor   = 'c'
)

// fact is what is known of a property.
type fact struct {
	typ byte
	// low and high bound a number, where they differ.
	low, high float64
	optional  bool
}

// The numbers that stand for names count from 1 for shapes and alignment and
// from 0 for all else.
var common = map[string]fact{
	"background":      {typ: typeBoolean},
	"color":           {typ: typeColor},
	"cornerRadius":    {typeFloat, 0, 10, false},
	"frame":           {typ: typeFrame},
	"grabFocus":       {typ: typeBoolean},
	"interactive":     {typ: typeBoolean},
	"locked":          {typ: typeBoolean},
	"name":            {typ: typeString, optional: true},
	"orientation":     {typeInteger, 0, 3, false},
	"outline":         {typ: typeBoolean},
	"outlineStyle":    {typeInteger, 0, 2, false},
	"pointerPriority": {typeInteger, 0, 1, false},
	"script":          {typ: typeString, optional: true},
	"shape":           {typeInteger, 1, 6, false},
	"tag":             {typ: typeString, optional: true},
	"visible":         {typ: typeBoolean},
}

var (
	response = map[string]fact{"response": {typeInteger, 0, 1, false}, "responseFactor": {typeInteger, 1, 100, false}}
	ruled    = map[string]fact{"grid": {typ: typeBoolean}, "gridColor": {typ: typeColor}, "gridSteps": {typeInteger, 2, 1000, false}}
	cursor   = map[string]fact{"cursor": {typ: typeBoolean}, "cursorDisplay": {typeInteger, 0, 2, false}}
	crossed  = map[string]fact{"gridColor": {typ: typeColor}, "gridX": {typ: typeBoolean}, "gridY": {typ: typeBoolean}, "gridStepsX": {typeInteger, 2, 1000, false},
		"gridStepsY": {typeInteger, 2, 1000, false}, "lines": {typ: typeBoolean}, "linesDisplay": {typeInteger, 0, 2, false}, "lockX": {typ: typeBoolean}, "lockY": {typ: typeBoolean}}
	lettered = map[string]fact{"font": {typeInteger, 0, 1, false}, "textAlignH": {typeInteger, 1, 3, false}, "textAlignV": {typeInteger, 1, 3, false},
		"textClip": {typ: typeBoolean}, "textColor": {typ: typeColor}, "textSize": {typeInteger, 1, 1000, false}}
	paged = map[string]fact{"tabColorOff": {typ: typeColor, optional: true}, "tabColorOn": {typ: typeColor, optional: true}, "tabLabel": {typ: typeString, optional: true},
		"textColorOff": {typ: typeColor, optional: true}, "textColorOn": {typ: typeColor, optional: true}}
)

// properties are those of each type of node.
var properties = map[string]map[string]fact{
	"BOX": join(),
	"BUTTON": join(map[string]fact{"buttonType": {typeInteger, 0, 2, false}, "press": {typ: typeBoolean}, "release": {typ: typeBoolean},
		"valuePosition": {typ: typeBoolean}}),
	"LABEL": join(lettered, map[string]fact{"textLength": {typeInteger, 0, 1e6, false}}),
	"TEXT":  join(lettered, map[string]fact{"textWrap": {typ: typeBoolean}}),
	"FADER": join(response, ruled, cursor, map[string]fact{"bar": {typ: typeBoolean}, "barDisplay": {typeInteger, 0, 2, false},
		"centered": {typ: typeBoolean, optional: true}}),
	"XY":      join(response, cursor, crossed),
	"RADIAL":  join(response, ruled, cursor, map[string]fact{"inverted": {typ: typeBoolean}, "centered": {typ: typeBoolean}}),
	"ENCODER": join(response, ruled, cursor),
	"RADAR":   join(cursor, crossed),
	"RADIO":   join(map[string]fact{"radioType": {typeInteger, 0, 1, false}, "steps": {typeInteger, 1, 1000, false}}),
	"GROUP":   join(paged),
	"PAGER": join(map[string]fact{"tabLabels": {typ: typeBoolean}, "tabbar": {typ: typeBoolean}, "tabbarDoubleTap": {typ: typeBoolean},
		"tabbarSize": {typeInteger, 10, 300, false}, "textSizeOff": {typeInteger, 1, 1000, false}, "textSizeOn": {typeInteger, 1, 1000, false}}),
	"GRID": join(map[string]fact{"exclusive": {typ: typeBoolean}, "gridNaming": {typeInteger, 0, 2, false}, "gridOrder": {typeInteger, 0, 1, false},
		"gridStart": {typeInteger, 0, 3, false}, "gridType": {typeInteger, 0, 8, false}, "gridX": {typeInteger, 1, 1000, false}, "gridY": {typeInteger, 1, 1000, false}}),
}

func join(all ...map[string]fact) map[string]fact {
	j := map[string]fact{}
	for _, m := range append(all, common) {
		for k, f := range m {
			j[k] = f
		}
	}
	return j
}

// values are the keys of the values of each type of node, in their order.
var values = map[string][]string{
	"BOX": {"touch"}, "BUTTON": {"x", "touch"}, "LABEL": {"text", "touch"}, "TEXT": {"text", "touch"}, "FADER": {"x", "touch"}, "XY": {"x", "y", "touch"},
	"RADIAL": {"x", "touch"}, "ENCODER": {"x", "y", "touch"}, "RADAR": {"x", "y", "touch"}, "RADIO": {"x", "touch"}, "GROUP": {"touch"},
	"PAGER": {"page", "touch"}, "GRID": {"touch"},
}

// Words that the format knows.
var (
	conditions   = []string{"ANY", "RISE", "FALL"}
	partialTypes = []string{"CONSTANT", "INDEX", "VALUE", "PROPERTY"}
	conversions  = []string{"BOOLEAN", "INTEGER", "FLOAT", "STRING"}
	midiTypes    = []string{"NOTE_OFF", "NOTE_ON", "POLYPRESSURE", "CONTROLCHANGE", "PROGRAMCHANGE", "CHANNELPRESSURE", "PITCHBEND", "SYSTEMEXCLUSIVE"}
	targets      = []string{"VALUE", "PROPERTY"}
)

// holds tells whether nodes of a type have children.
func holds(typ string) bool { return slices.Contains([]string{"GROUP", "PAGER", "GRID"}, typ) }
