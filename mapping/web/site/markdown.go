package site

import (
	"html"
	"html/template"
	"regexp"
	"strings"
)

// block is a piece of a document: a heading, a paragraph, a list, a table or
// a text as it is typed. It is as much of Markdown as our documents use.
type block struct {
	Kind  string // heading, paragraph, list, table or code
	Level int    // of a heading, from 1
	Text  string // of a heading, a paragraph or a code
	Items []string
	Order bool // the list counts
	Head  []string
	Rows  [][]string
}

var numbered = regexp.MustCompile(`^\d+\. `)

// breaks are beginnings of what ends a paragraph without an empty line.
var breaks = regexp.MustCompile("^(\\||- |#|\\s*```)")

// parse takes a document to pieces.
func parse(text string) (all []block) {
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == "":
		case strings.HasPrefix(trimmed, "```"):
			var code []string
			for i++; i < len(lines) && !strings.HasPrefix(strings.TrimSpace(lines[i]), "```"); i++ {
				code = append(code, lines[i])
			}
			all = append(all, block{Kind: "code", Text: strings.Join(code, "\n")})
		case strings.HasPrefix(line, "#"):
			level := len(line) - len(strings.TrimLeft(line, "#"))
			all = append(all, block{Kind: "heading", Level: level, Text: strings.TrimSpace(line[level:])})
		case strings.HasPrefix(line, "|"):
			b := block{Kind: "table", Head: cells(line)}
			for i += 2; i < len(lines) && strings.HasPrefix(lines[i], "|"); i++ {
				b.Rows = append(b.Rows, cells(lines[i]))
			}
			i--
			all = append(all, b)
		case strings.HasPrefix(line, "- ") || numbered.MatchString(line):
			b := block{Kind: "list", Order: line[0] != '-'}
			for ; i < len(lines) && strings.TrimSpace(lines[i]) != ""; i++ {
				mark := "- "
				if b.Order {
					mark = numbered.FindString(lines[i])
				}
				if item, ok := strings.CutPrefix(lines[i], mark); ok && mark != "" {
					b.Items = append(b.Items, item)
				} else {
					b.Items[len(b.Items)-1] += " " + strings.TrimSpace(lines[i])
				}
			}
			all = append(all, b)
		default:
			var words []string
			for begins := true; i < len(lines) && strings.TrimSpace(lines[i]) != "" && (begins || !breaks.MatchString(lines[i])); i++ {
				begins = false
				words = append(words, strings.TrimSpace(lines[i]))
			}
			i--
			all = append(all, block{Kind: "paragraph", Text: strings.Join(words, " ")})
		}
	}
	return all
}

// cells takes a row of a table apart. A bar behind a backslash is a bar.
func cells(row string) []string {
	const bar = "\x00"
	row = strings.ReplaceAll(strings.Trim(strings.TrimSpace(row), "|"), `\|`, bar)
	var list []string
	for c := range strings.SplitSeq(row, "|") {
		list = append(list, strings.TrimSpace(strings.ReplaceAll(c, bar, "|")))
	}
	return list
}

// part is a heading of the second level and what belongs to it. The title of
// a document has no part; a heading of the first level after it makes one
// that is marked.
type part struct {
	ID, Title string
	Opens     string // the heading of the first level that it begins
	Blocks    []block
}

// parts puts a document together again, by its headings.
func parts(all []block) (list []part) {
	opens, first := "", true
	for _, b := range all {
		switch {
		case b.Kind == "heading" && b.Level == 1:
			if !first {
				opens = b.Text
			}
			first = false
		case b.Kind == "heading" && b.Level == 2:
			list = append(list, part{ID: slug(b.Text), Title: b.Text, Opens: opens})
			opens = ""
		case len(list) == 0:
			list = append(list, part{Blocks: []block{b}})
		case opens != "":
			list = append(list, part{ID: slug(opens), Title: opens, Opens: opens, Blocks: []block{b}})
			opens = ""
		default:
			list[len(list)-1].Blocks = append(list[len(list)-1].Blocks, b)
		}
	}
	return list
}

// slug makes an id of a heading.
func slug(s string) string {
	return strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(s), "-"), "-")
}

var inlines = []struct {
	find *regexp.Regexp
	with string
}{
	{regexp.MustCompile("`([^`]+)`"), "<code>$1</code>"},
	{regexp.MustCompile(`\*\*([^*]+)\*\*`), "<strong>$1</strong>"},
	{regexp.MustCompile(`\*([^*\s][^*]*)\*`), "<em>$1</em>"},
	{regexp.MustCompile(`\[([^\]]+)\]\((https?://[^)\s]+)\)`), `<a href="$2">$1</a>`},
	{regexp.MustCompile(`\[([^\]]+)\]\([^)]*\)`), "$1"}, // a file of the source
}

// words sets a line of text.
func words(s string) template.HTML {
	s = html.EscapeString(s)
	for _, i := range inlines {
		s = i.find.ReplaceAllString(s, i.with)
	}
	return template.HTML(s)
}
