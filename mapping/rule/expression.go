package rule

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/env"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/parser"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// What keeps an expression from stalling the goroutine that plays. A unit of
// cost is about one step of the evaluation, 20…100 ns.
const (
	// freeCost is what an expression may cost at worst and still run without
	// its cost being counted, which takes twice the time.
	freeCost = 3000
	// maxCost is what a counted one may cost before it is stopped: about 1 ms.
	maxCost = 10000
	// maxTime stops what is slow all the same, on a machine that is busy.
	maxTime = 50 * time.Millisecond
	// interruptEvery is how many turns of a loop pass between two looks at the
	// clock.
	interruptEvery = 32
	// maxWord is the longest value of a variable, in bytes; longer ones, such
	// as the text of an error, are cut.
	maxWord = 1024
	// maxStates is how large a regular expression may be, in instructions of
	// its automaton: each of them may cost a step at each character.
	maxStates = 200
	// maxNesting is how deep the loops of CEL's macros may stand in one
	// another, and maxDepth anything else.
	maxNesting, maxDepth = 4, 50
)

// language is what expressions of one kind are compiled in.
type language struct {
	env   *cel.Env
	names []string // of its variables and functions, for hints
}

// standard returns the part of CEL that expressions have. What would make the
// time of an evaluation unknown is not there: types known only when it runs,
// and with them lists in lists, whose comparison no cost counts.
func standard() []cel.EnvOption {
	without := env.NewLibrarySubset().AddExcludedFunctions(env.NewFunction("dyn"), env.NewFunction("type"))
	return []cel.EnvOption{
		cel.StdLib(cel.StdLibSubset(without)),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(MaxSource),
		cel.ParserRecursionLimit(maxDepth),
		cel.ASTValidators(
			cel.ValidateComprehensionNestingLimit(maxNesting), cel.ValidateRegexLiterals(),
			cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateHomogeneousAggregateLiterals(),
		),
	}
}

// newLanguage returns the language with these variables and, for rules, the
// functions that know the scope.
func newLanguage(vars []Variable, scoped bool) *language {
	l := &language{}
	opts := append(standard(), library()...)
	for _, v := range vars {
		opts = append(opts, cel.Variable(v.Name, celTypes[v.Type]))
		l.names = append(l.names, v.Name)
	}
	for i := range functions {
		l.names = append(l.names, functions[i].name)
	}
	l.names = append(l.names, "pick")
	if scoped {
		opts = append(opts, scopeFunctions()...)
		l.names = append(l.names, "random", "state")
	}
	e, err := cel.NewCustomEnv(opts...)
	if err != nil {
		panic(fmt.Sprintf("rule language: %v", err)) // it is declared wrongly, in this package
	}
	l.env = e
	return l
}

var celTypes = map[string]*cel.Type{
	"string": cel.StringType, "bool": cel.BoolType, "int": cel.IntType, "double": cel.DoubleType, "timestamp": cel.TimestampType,
}

// kinds of values that a field of a rule may have.
type want struct {
	what  string // as an error says it
	kinds []types.Kind
}

var (
	aTruth  = want{"a bool", []types.Kind{types.BoolKind}}
	aNumber = want{"a number", []types.Kind{types.IntKind, types.DoubleKind, types.UintKind}}
	anInt   = want{"an int", []types.Kind{types.IntKind}}
	aWord   = want{"a string", []types.Kind{types.StringKind}}
	anArg   = want{"an int, double, bool or string", []types.Kind{types.IntKind, types.DoubleKind, types.UintKind, types.BoolKind, types.StringKind}}
)

// expression is one compiled expression.
type expression struct {
	program cel.Program
	// counted tells that its worst case may cost more than freeCost.
	counted bool
	// constant is its value where that is the same for every evaluation.
	constant ref.Val
	// checked is kept of conditions alone, to derive their filter.
	checked ast.Expr
}

// issue is a mistake in an expression, at a place of its source.
type issue struct {
	line, column int // from 1; column in characters
	err          error
}

// compile checks one expression. On any issue there is no expression.
func (l *language) compile(source string, w want) (*expression, []issue) {
	if n := utf8.RuneCountInString(source); n > MaxSource {
		return nil, []issue{{1, 1, fmt.Errorf("an expression has at most %d characters, this has %d", MaxSource, n)}}
	}
	if strings.TrimSpace(source) == "" {
		return nil, []issue{{1, 1, fmt.Errorf("the expression is empty; expected %s", w.what)}}
	}
	a, iss := l.env.Compile(source)
	if iss.Err() != nil {
		return nil, l.issues(iss, source)
	}
	checked := a.NativeRep()
	x := &expression{}
	if slices.Equal(w.kinds, aTruth.kinds) {
		x.checked = checked.Expr()
	}
	found := judge(checked)
	if t := checked.GetType(checked.Expr().ID()); len(found) == 0 && !slices.Contains(w.kinds, t.Kind()) {
		found = append(found, issue{1, 1, fmt.Errorf("expected %s, this is %s", w.what, typeName(t))})
	}
	if len(found) > 0 {
		return nil, found
	}
	opts := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	cost, err := l.env.EstimateCost(a, sizes{})
	if err != nil {
		return nil, []issue{{1, 1, err}}
	}
	if x.counted = cost.Max > freeCost; x.counted {
		if cost.Min > maxCost {
			return nil, []issue{{1, 1, fmt.Errorf("the expression takes at least %d steps; at most %d are allowed", cost.Min, maxCost)}}
		}
		opts = append(opts, cel.CostTracking(sizes{}), cel.CostLimit(maxCost), cel.InterruptCheckFrequency(interruptEvery))
	}
	if x.program, err = l.env.Program(a, opts...); err != nil {
		return nil, []issue{{1, 1, plain(err)}}
	}
	if isConstant(checked) {
		if x.constant, err = x.eval(cel.NoVars()); err != nil {
			return nil, []issue{{1, 1, err}}
		}
	}
	return x, nil
}

// eval evaluates the expression; its errors say what is wrong with the values.
func (x *expression) eval(vars cel.Activation) (ref.Val, error) {
	if x.constant != nil {
		return x.constant, nil
	}
	var v ref.Val
	var err error
	if x.counted {
		ctx, cancel := context.WithTimeout(context.Background(), maxTime)
		v, _, err = x.program.ContextEval(ctx, vars)
		cancel()
	} else {
		v, _, err = x.program.Eval(vars)
	}
	if err != nil {
		return nil, plain(err)
	}
	return v, nil
}

// ErrCost says that an evaluation was stopped because it took too long.
var ErrCost = errors.New("the expression takes too long and was stopped; make its lists shorter")

// plain returns an error of CEL in our words.
func plain(err error) error {
	text := err.Error()
	if strings.Contains(text, "operation cancelled") || strings.Contains(text, "operation interrupted") {
		return ErrCost
	}
	var e *types.Err
	if errors.As(err, &e) {
		if w := e.Unwrap(); w != nil {
			err, text = w, w.Error()
		}
	}
	if m := noConversion.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s was given a word that is not one; number(word, default) takes any word", m[1])
	}
	return err
}

// isConstant tells whether an expression has no variable in it and leaves
// nothing to chance.
func isConstant(a *ast.AST) bool {
	constant := true
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.IdentKind {
			constant = false
		}
	}))
	return constant
}

// judge finds what CEL itself allows and expressions here may not hold.
func judge(a *ast.AST) (found []issue) {
	say := func(id int64, format string, args ...any) {
		at := a.SourceInfo().GetStartLocation(id)
		found = append(found, issue{max(at.Line(), 1), max(at.Column(), 0) + 1, fmt.Errorf(format, args...)})
	}
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.StructKind:
			say(e.ID(), "messages such as %s{} are not part of rules", e.AsStruct().TypeName())
			return
		case ast.CallKind:
			judgeCall(a, e, say)
		}
		if t := a.GetType(e.ID()); t != nil && !flat(t) {
			switch t.Kind() {
			case types.TypeKind:
				say(e.ID(), "%s is a type, not a value; a conversion is written %s(x)", e.AsIdent(), e.AsIdent())
			case types.NullTypeKind:
				say(e.ID(), "there is no null in rules; what is not there is an empty string, \"\"")
			default:
				say(e.ID(), "%s cannot be used here; a list or map holds numbers, words, times or bools of one kind, and is not empty", typeName(t))
			}
		}
	}))
	// Of one mistake, only the outermost is told.
	if len(found) > 1 {
		found = found[:1]
	}
	return found
}

// named are the functions whose first word must be in a table, with the index
// of that argument.
var named = map[string]struct {
	arg   int
	what  string
	table map[string][]int
}{"scale": {0, "scale", scales}, "chord": {0, "chord", chords}, "quantize": {1, "scale", scales}}

func judgeCall(a *ast.AST, e ast.Expr, say func(int64, string, ...any)) {
	c := e.AsCall()
	if n, ok := named[c.FunctionName()]; ok && len(c.Args()) > n.arg {
		if arg := c.Args()[n.arg]; arg.Kind() == ast.LiteralKind {
			if word, ok := arg.AsLiteral().(types.String); ok {
				if _, err := known(n.what, n.table, string(word)); err != nil {
					say(arg.ID(), "%w", err)
				}
			}
		}
	}
	judgeWords(e, say)
	for _, id := range a.GetOverloadIDs(e.ID()) {
		if strings.HasSuffix(id, "_with_tz") {
			say(e.ID(), "%s takes no time zone here: times are in UTC", c.FunctionName())
		}
	}
	if c.FunctionName() == "matches" {
		args := c.Args()
		pattern := args[len(args)-1]
		if pattern.Kind() != ast.LiteralKind {
			say(pattern.ID(), "the pattern of matches is written out, so that it can be checked when the scene is read")
			return
		}
		if n := states(pattern); n > maxStates {
			say(pattern.ID(), "the pattern is too large: %d steps at each character, at most %d are allowed", n, maxStates)
		}
	}
}

// judgeWords finds kinds and fields that no transition has: such a condition
// would wait for ever.
func judgeWords(e ast.Expr, say func(int64, string, ...any)) {
	c := e.AsCall()
	args := c.Args()
	check := func(about string, words ...ast.Expr) {
		all := vocabulary[about]
		if all == nil {
			return
		}
		for _, w := range words {
			if text, ok := literal(w); ok && text != "" && !slices.Contains(all, text) {
				say(w.ID(), "no transition has the %s %q; there are %s%s", about, document.Clip(text), strings.Join(all, ", "), document.Near(text, all))
				return
			}
		}
	}
	ident := func(e ast.Expr) string {
		if e.Kind() == ast.IdentKind {
			return e.AsIdent()
		}
		return ""
	}
	switch c.FunctionName() {
	case operators.Equals, operators.NotEquals:
		check(ident(args[0]), args[1])
		check(ident(args[1]), args[0])
	case operators.In:
		if args[1].Kind() == ast.ListKind {
			check(ident(args[0]), args[1].AsList().Elements()...)
		}
	case "@state":
		check("field", args[1])
	}
}

// states returns the size of the automaton of a pattern, 0 where it is none.
func states(pattern ast.Expr) int {
	word, ok := pattern.AsLiteral().(types.String)
	if !ok {
		return 0
	}
	re, err := syntax.Parse(string(word), syntax.Perl)
	if err != nil {
		return 0
	}
	p, err := syntax.Compile(re.Simplify())
	if err != nil {
		return 0
	}
	return len(p.Inst)
}

// scalars are the kinds of values that need constant time.
var scalars = []types.Kind{types.BoolKind, types.IntKind, types.UintKind, types.DoubleKind, types.StringKind, types.BytesKind, types.TimestampKind, types.DurationKind}

// flat tells whether a value of a type is compared in the time that its cost
// says.
func flat(t *types.Type) bool {
	switch t.Kind() {
	case types.ListKind, types.MapKind:
		for _, p := range t.Parameters() {
			if !slices.Contains(scalars, p.Kind()) {
				return false
			}
		}
		return true
	case types.OpaqueKind:
		return t.TypeName() == scopeType.TypeName()
	}
	return slices.Contains(scalars, t.Kind())
}

// typeName writes a type as a player reads it.
func typeName(t *types.Type) string {
	name := t.String()
	switch t.Kind() {
	case types.TimestampKind:
		name = "timestamp"
	case types.DurationKind:
		name = "duration"
	case types.IntKind:
		return "an int"
	}
	return "a " + name
}

// sizes tells CEL how large variables are and what our functions cost.
type sizes struct{}

// EstimateSize implements checker.CostEstimator.
func (sizes) EstimateSize(n checker.AstNode) *checker.SizeEstimate {
	if p := n.Path(); len(p) == 1 && n.Type().Kind() == types.StringKind {
		return &checker.SizeEstimate{Max: maxWord}
	}
	return nil
}

// EstimateCallCost implements checker.CostEstimator.
func (sizes) EstimateCallCost(name, overload string, target *checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	switch name {
	case "matches":
		// As many steps as characters and states; ten of them are no dearer
		// than one of the evaluation.
		subject := args[0]
		if target != nil {
			subject = *target
		}
		size := subject.ComputedSize()
		if size == nil {
			size = sizes{}.EstimateSize(subject)
		}
		if size == nil {
			return nil
		}
		perCharacter := float64(states(args[len(args)-1].Expr())) / 10
		cost := size.Add(checker.FixedSizeEstimate(1)).MultiplyByCostFactor(perCharacter)
		return &checker.CallEstimate{CostEstimate: cost}
	case "@state":
		return &checker.CallEstimate{CostEstimate: checker.FixedCostEstimate(2), ResultSize: &checker.SizeEstimate{Max: maxWord}}
	}
	return nil
}

// CallCost implements interpreter.ActualCostEstimator.
func (sizes) CallCost(name, overload string, args []ref.Val, result ref.Val) *uint64 {
	if name != "matches" {
		return nil
	}
	// The size of the automaton is at most maxStates.
	cost := (1 + uint64(len(string(args[0].(types.String))))) * maxStates / 10
	return &cost
}

var (
	noConversion = regexp.MustCompile(`^type conversion error from 'string' to '(int|double|uint)'$`)

	undeclared = regexp.MustCompile(`^undeclared reference to '(.*)' \(in container '.*'\)$`)
	noOverload = regexp.MustCompile(`^found no matching overload for '(.*)' applied to '(.*)'$`)
	expecting  = regexp.MustCompile(`,? expecting \{.*\}$`)
	typeWords  = strings.NewReplacer("google.protobuf.Timestamp", "timestamp", "google.protobuf.Duration", "duration")
	mixed      = regexp.MustCompile(`\b(int, double|double, int|uint, double|double, uint|int, uint|uint, int)\b`)
)

// issues turns what CEL found into our words.
func (l *language) issues(iss *cel.Issues, source string) (all []issue) {
	for _, e := range iss.Errors() {
		line, column := e.Location.Line(), e.Location.Column()+1
		text := strings.TrimSpace(e.Message)
		if m := undeclared.FindStringSubmatch(text); m != nil {
			text = fmt.Sprintf("undeclared reference to '%s'%s", document.Clip(m[1]), document.Near(m[1], l.names))
			if u := usage(m[1]); u != "" && slices.Contains(l.names, m[1]) {
				text = fmt.Sprintf("'%s' does not take such arguments; it is %s", m[1], u)
			}
		} else if m := noOverload.FindStringSubmatch(text); m != nil {
			text = noMatch(m[1], typeWords.Replace(m[2]))
		} else if after, ok := strings.CutPrefix(text, "Syntax error: "); ok {
			text = syntaxText(expecting.ReplaceAllString(after, ""))
		} else if strings.Contains(text, "comprehension exceeds nesting limit") {
			text = fmt.Sprintf("loops such as exists, map and filter stand at most %d deep in one another", maxNesting)
		}
		if line < 1 || column < 1 {
			line, column = 1, 1
		}
		all = append(all, issue{line, column, errors.New(text)})
		if strings.HasPrefix(text, "this is not CEL") || len(all) == 5 {
			break // what follows a mistake of syntax is noise
		}
	}
	return all
}

// syntaxText explains a mistake of the grammar.
func syntaxText(text string) string {
	switch {
	case strings.Contains(text, "token recognition error at: '= "):
		return "this is not CEL: a single =; equality is written =="
	case strings.Contains(text, "'<EOF>'") && !strings.Contains(text, "extraneous"):
		return "this is not CEL: the expression ends too early"
	}
	return "this is not CEL: " + text
}

// noMatch explains that a function or an operator does not take such values.
func noMatch(name, args string) string {
	if op, ok := operators.FindReverse(name); ok && op != "" {
		name = op
	}
	switch name {
	case operators.Conditional:
		return fmt.Sprintf("a ? b : c takes a bool and two of one kind, not %s", args)
	case "@state":
		name, args = "state", strings.Replace(args, "(rule, ", "(", 1)
	}
	text := fmt.Sprintf("'%s' does not take %s", name, args)
	if u := usage(name); u != "" {
		return text + "; it is " + u
	}
	if mixed.MatchString(args) {
		text += "; an int and a double do not mix: write double(x), or 2.0 for 2"
	}
	return text
}

// scopeType is the type of the value through which functions reach what a
// rule knows. No expression can name it.
var scopeType = cel.OpaqueType("rule")

const scopeName = "@rule"

// scopeFunctions are those that answer otherwise from rule to rule.
func scopeFunctions() []cel.EnvOption {
	hidden := func(function string) parser.MacroExpander {
		return func(eh parser.ExprHelper, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
			return eh.NewCall(function, append([]ast.Expr{eh.NewIdent(scopeName)}, args...)...), nil
		}
	}
	return []cel.EnvOption{
		cel.Variable(scopeName, scopeType),
		cel.Macros(parser.NewGlobalMacro("random", 0, hidden("@random")), parser.NewGlobalMacro("state", 1, hidden("@state"))),
		cel.Function("@random", cel.Overload("random", []*cel.Type{scopeType}, cel.DoubleType, cel.UnaryBinding(func(v ref.Val) ref.Val {
			return types.Double(v.(*scope).rule.random.next())
		}))),
		cel.Function("@state", cel.Overload("state", []*cel.Type{scopeType, cel.StringType}, cel.StringType, cel.BinaryBinding(func(v, field ref.Val) ref.Val {
			return types.String(cut(v.(*scope).object.value(string(field.(types.String)))))
		}))),
	}
}

// cut shortens a value to what expressions may see of it.
func cut(s string) string {
	if len(s) <= maxWord {
		return s
	}
	n := maxWord
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// vocabulary is what transitions may say of their kinds and fields.
var vocabulary = map[string][]string{
	"kind": {
		mapping.KindPod, mapping.KindDeployment, mapping.KindNode, mapping.KindService, mapping.KindIngress, mapping.KindHPA,
		mapping.KindCronJob, mapping.KindJob, mapping.KindNamespace, mapping.KindComposition, mapping.KindEtcd, mapping.KindAPIServer,
		mapping.KindCluster,
	},
	"field": {
		mapping.FieldExists, mapping.FieldDeleting, mapping.FieldNode, mapping.FieldPhase, mapping.FieldReady, mapping.FieldRestarts,
		mapping.FieldReason, mapping.FieldReplicas, mapping.FieldReadyPods, mapping.FieldUpdated, mapping.FieldGen, mapping.FieldObserved,
		mapping.FieldCordoned, mapping.FieldPressure, mapping.FieldLoad, mapping.FieldMemory, mapping.FieldCapacity, mapping.FieldEndpoints,
		mapping.FieldRoutes, mapping.FieldCurrent, mapping.FieldDesired, mapping.FieldLimited, mapping.FieldTick, mapping.FieldNext,
		mapping.FieldActive, mapping.FieldSucceeded, mapping.FieldFailed, mapping.FieldComplete, mapping.FieldHeadroom, mapping.FieldSynthesis,
		mapping.FieldRevision, mapping.FieldLatency, mapping.FieldReachable, mapping.FieldSynced, mapping.FieldBoot, mapping.FieldRoute,
		mapping.FieldServed, mapping.FieldMissed, mapping.FieldNotFound,
	},
}

// The languages are made when the first expression is compiled: a scene
// without rules has no use for them.
var (
	ruleLanguage  = sync.OnceValue(func() *language { return newLanguage(ruleVariables, true) })
	playLanguage  = sync.OnceValue(func() *language { return newLanguage(Variables(), true) })
	programSyntax = sync.OnceValue(func() *language { return newLanguage(programVariables, false) })
)
