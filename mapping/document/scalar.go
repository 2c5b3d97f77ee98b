package document

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// Within returns where in the file a character of a scalar stands, which is
// given by its line and column in the scalar's value, both from 1. Where that
// cannot be told it returns the place of the scalar and false.
//
// It reads the text of the file beside the value, and knows of each style what
// the text has more: quotes and escapes, the indentation of a block, and line
// breaks that are folded into blanks.
func (r *Reader) Within(n *yaml.Node, line, column int) (int, int, bool) {
	value := []rune(n.Value)
	target := 0
	for i := 1; i < line; i++ {
		for target < len(value) && value[target] != '\n' {
			target++
		}
		target++
	}
	target += column - 1
	c := cursor{text: r.text(), line: n.Line - 1, column: n.Column - 1}
	if c.line >= len(c.text) || target > len(value) || !c.open(n) {
		return n.Line, n.Column, false
	}
	for i, r := range value {
		if !c.settle() {
			return n.Line, n.Column, false
		}
		if i == target {
			return c.line + 1, c.column + 1, true
		}
		if !c.take(r) {
			return n.Line, n.Column, false
		}
	}
	return c.line + 1, c.column + 1, true
}

// text returns the file in lines of characters; it is split once, at the first
// mistake that asks for it.
func (r *Reader) text() [][]rune {
	if r.lines == nil {
		for l := range strings.SplitSeq(strings.ReplaceAll(string(r.data), "\r\n", "\n"), "\n") {
			r.lines = append(r.lines, []rune(l))
		}
	}
	return r.lines
}

// cursor walks through the text of one scalar.
type cursor struct {
	text         [][]rune
	line, column int // from 0
	style        yaml.Style
	indent       int  // of a block
	broken       bool // blank lines were passed, of which the value may have more line feeds
}

// open stands at the first character of the value.
func (c *cursor) open(n *yaml.Node) bool {
	c.style = n.Style & (yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle)
	// A tag or an anchor stands before the value.
	for r := c.at(); r == '!' || r == '&'; r = c.at() {
		for c.at() > ' ' {
			c.column++
		}
		for c.at() == ' ' || c.at() == '\t' {
			c.column++
		}
	}
	switch c.style {
	case yaml.SingleQuotedStyle, yaml.DoubleQuotedStyle:
		c.column++
	case yaml.LiteralStyle, yaml.FoldedStyle:
		// The first line that is not blank tells the indentation: what it has
		// more than the value's.
		first := strings.TrimLeft(n.Value, "\n")
		own := len(first) - len(strings.TrimLeft(first, " "))
		for i := c.line + 1; i < len(c.text); i++ {
			l := c.text[i]
			blanks := 0
			for blanks < len(l) && l[blanks] == ' ' {
				blanks++
			}
			if blanks < len(l) {
				c.indent = blanks - own
				c.line++
				c.column = min(c.indent, len(c.text[c.line]))
				return c.indent >= 0
			}
		}
		return false
	}
	return true
}

// at returns the character under the cursor, 0 at the end of a line.
func (c *cursor) at() rune {
	if c.line >= len(c.text) || c.column >= len(c.text[c.line]) {
		return 0
	}
	return c.text[c.line][c.column]
}

// settle passes what the text has and the value has not.
func (c *cursor) settle() bool {
	if c.style == yaml.DoubleQuotedStyle && c.at() == '\\' && c.column+1 == len(c.text[c.line]) {
		c.next() // a line that is continued
		c.skipBlanks()
	}
	return c.line < len(c.text)
}

// next goes to the next line.
func (c *cursor) next() {
	c.line, c.column = c.line+1, 0
	if c.style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 && c.line < len(c.text) {
		c.column = min(c.indent, len(c.text[c.line]))
	}
}

func (c *cursor) skipBlanks() {
	for c.at() == ' ' || c.at() == '\t' {
		c.column++
	}
}

// restBlank tells whether nothing but blanks follows on the line.
func (c *cursor) restBlank() bool {
	for _, r := range c.text[c.line][min(c.column, len(c.text[c.line])):] {
		if r != ' ' && r != '\t' {
			return false
		}
	}
	return true
}

// take passes one character of the value.
func (c *cursor) take(r rune) bool {
	if c.line >= len(c.text) {
		return false
	}
	switch c.style {
	case yaml.LiteralStyle:
		if r == '\n' {
			if c.at() != 0 {
				return false
			}
			c.next()
			return true
		}
	case yaml.FoldedStyle:
		if r == '\n' && c.broken {
			return true
		}
		if (r == ' ' || r == '\n') && c.at() == 0 {
			// A break is a blank; blank lines, and breaks beside lines that are
			// indented more, are line feeds.
			for c.next(); r == '\n' && c.line < len(c.text) && c.restBlank(); c.next() {
			}
			c.broken = r == '\n'
			return true
		}
	default:
		if c.style == yaml.DoubleQuotedStyle && c.at() == '\\' && (r != '\n' || strings.HasPrefix(string(c.text[c.line][c.column:]), `\n`)) {
			return c.escape()
		}
		if r == '\n' && c.broken {
			return true
		}
		if (r == ' ' || r == '\n') && c.restBlank() {
			// A break of a flow scalar is a blank, or one line feed for each blank
			// line after it.
			for c.next(); r == '\n' && c.line < len(c.text) && c.restBlank(); c.next() {
			}
			c.skipBlanks()
			c.broken = r == '\n'
			return true
		}
		if c.style == yaml.SingleQuotedStyle && r == '\'' {
			if c.at() != '\'' {
				return false
			}
			c.column++
		}
	}
	if c.at() != r {
		return false
	}
	c.column++
	c.broken = false
	return true
}

// escape passes one escape of a double-quoted scalar.
func (c *cursor) escape() bool {
	c.column++
	c.broken = false
	digits := map[rune]int{'x': 2, 'u': 4, 'U': 8}[c.at()]
	if c.at() == 0 {
		return false
	}
	c.column += 1 + digits
	return c.column <= len(c.text[c.line])
}
