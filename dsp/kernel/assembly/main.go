// Command assembly writes the assembly of package kernel, for AVX2 and for
// AVX-512, with avo. It runs when a kernel is changed (go generate), never as
// part of a build, and is no part of any program.
package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The layout of kernel.bank, in rows of sixteen values; the test that compares
// the twins fails when the two differ.
const (
	row = 64

	phase    = 0
	inc      = 2 * row
	next     = 4 * row
	lead     = 6 * row
	hertz    = 8 * row
	inv      = 10 * row
	scale    = 12 * row
	size     = 14 * row
	base     = 16 * row
	slope    = 18 * row
	cutoff   = 20 * row
	damp     = 21 * row
	coef     = 22 * row // a, b, c
	dcoef    = 25 * row
	gcoef    = 28 * row
	band     = 31 * row
	low      = 32 * row
	level    = 33 * row
	to       = 34 * row
	share    = 35 * row
	top      = 36 * row
	then     = 37 * row
	thenWith = 38 * row
	gain     = 39 * row
	dgain    = 41 * row
	ggain    = 43 * row
	want     = 45 * row
	wave     = 47 * row
	ring     = 63 * row
	ringRow  = 72 * 4
	toInc    = ring + 16*ringRow
	toPhase  = toInc + 4
	lowest   = toInc + 8
	at       = toInc + 12

	tableRow = 32 * 4
	sumRight = 16 * row
)

// Predicates of VCMPPS, all ordered and quiet.
const (
	equal        = 0
	greaterEqual = 29
	lessEqual    = 18
	less         = 17
)

func main() {
	ConstraintExpr("amd64")
	cpu()
	for _, s := range []string{"Saw", "Triangle", "Sine"} {
		begin(s)
		for _, wide := range []bool{false, true} {
			run(s, wide, false)
			run(s, wide, true)
		}
	}
	stereo()
	Generate()
}

// constants are rows of sixteen copies of a value.
var constants = map[uint32]Mem{}

func word(v uint32) Mem {
	if m, ok := constants[v]; ok {
		return m
	}
	m := GLOBL("x"+hex(v), 24) // RODATA|NOPTR
	for i := range 16 {
		DATA(4*i, U32(v))
	}
	constants[v] = m
	return m
}

func hex(v uint32) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 8)
	for i := range b {
		b[i] = digits[v>>(28-4*i)&15]
	}
	return string(b)
}

func number(v float32) Mem { return word(math.Float32bits(v)) }

func field(p Register, offset int) Mem { return Mem{Base: p, Disp: offset} }

// cpu declares what tells which instructions there are.
func cpu() {
	TEXT("cpuid", NOSPLIT, "func(leaf, sub uint32) (a, b, c, d uint32)")
	Doc("cpuid asks the processor what it is.")
	Load(Param("leaf"), EAX)
	Load(Param("sub"), ECX)
	CPUID()
	Store(EAX, ReturnIndex(0))
	Store(EBX, ReturnIndex(1))
	Store(ECX, ReturnIndex(2))
	Store(EDX, ReturnIndex(3))
	RET()

	TEXT("xgetbv", NOSPLIT, "func() uint32")
	Doc("xgetbv tells which registers the operating system keeps.")
	XORL(ECX, ECX)
	XGETBV()
	Store(EAX, ReturnIndex(0))
	RET()
}

func load(m Mem) VecVirtual {
	r := YMM()
	VMOVUPS(m, r)
	return r
}

func broadcast(m Mem) VecVirtual {
	r := YMM()
	VBROADCASTSS(m, r)
	return r
}

// begin begins a control period: prepares, adds residuals, and takes those of
// this period out of the ring.
func begin(shape string) {
	name := "begin" + shape + "AVX2"
	signature := "func(b *float32, what int, table *float32) uint32"
	TEXT(name, NOSPLIT, signature)
	Pragma("noescape")
	Doc(name + " is the beginning of a control period.")
	b := Load(Param("b"), GP64())
	what := Load(Param("what"), GP64())
	table := Load(Param("table"), GP64())
	ended := prepare(b, what)
	Store(ended, ReturnIndex(0))
	if shape != "Sine" {
		residuals(b, table, 0, false, "first")
	}
	if shape == "Triangle" {
		residuals(b, table, 1<<31, true, "second")
	}
	transpose(b)
	VZEROUPPER()
	RET()
}

func prepare(b, what Register) GPVirtual {
	CMPL(field(b, at), Imm(0))
	JNZ(LabelRef("folded"))
	nothing := YMM()
	VXORPS(nothing, nothing, nothing)
	for l := range 16 {
		x := load(field(b, ring+l*ringRow))
		VADDPS(field(b, ring+l*ringRow+256), x, x)
		VMOVUPS(x, field(b, ring+l*ringRow))
		VMOVUPS(nothing, field(b, ring+l*ringRow+256))
	}
	Label("folded")
	for o := range 4 {
		f := func(offset int) Mem { return field(b, offset+32*o) }
		was := load(f(next))
		VMOVUPS(was, f(inc))
		VPSLLD(Imm(4), was, was)
		VPADDD(f(phase), was, was)
		VMOVUPS(was, f(lead))
	}
	TESTQ(U32(1), what)
	JZ(LabelRef("pitches"))
	for o := range 4 {
		f := func(offset int) Mem { return field(b, offset+32*o) }
		x := broadcast(field(b, toInc))
		VMULPS(f(hertz), x, x)
		zero := YMM()
		VXORPS(zero, zero, zero)
		VMAXPS(zero, x, x)
		VMINPS(number(0.49*(1<<32)), x, x)
		VCVTTPS2DQ(x, x)
		VMOVUPS(x, f(next))
		VCVTDQ2PS(x, x)
		s := YMM()
		VMULPS(f(slope), x, s)
		VADDPS(f(base), s, s)
		VMOVUPS(s, f(size))
		VMAXPS(number(1), x, x)
		VDIVPS(x, load(number(128)), x)
		VMOVUPS(x, f(inv))
	}
	Label("pitches")
	TESTQ(U32(4), what)
	JZ(LabelRef("gains"))
	for o := range 4 {
		f := func(offset int) Mem { return field(b, offset+32*o) }
		approach(f(gain), f(dgain), f(ggain), load(f(want)))
	}
	Label("gains")
	TESTQ(U32(2), what)
	JZ(LabelRef("filters"))
	for h := range 2 {
		f := func(offset int) Mem { return field(b, offset+32*h) }
		x := broadcast(field(b, toPhase))
		VMULPS(f(cutoff), x, x)
		VMAXPS(broadcast(field(b, lowest)), x, x)
		VMINPS(number(float32(math.Pi*0.49)), x, x)
		y := YMM()
		VMULPS(x, x, y)
		n := load(number(378))
		VSUBPS(y, n, n)
		VMULPS(y, n, n)
		VADDPS(number(-17325), n, n)
		VMULPS(y, n, n)
		VADDPS(number(135135), n, n)
		VMULPS(x, n, n)
		d, e := YMM(), load(number(3150))
		VMULPS(number(28), y, d)
		VSUBPS(d, e, d)
		VMULPS(y, d, d)
		VADDPS(number(-62370), d, d)
		VMULPS(y, d, d)
		VADDPS(number(135135), d, d)
		dd, r := YMM(), YMM()
		VMULPS(d, d, dd)
		VMULPS(f(damp), d, r)
		VADDPS(n, r, r)
		VMULPS(n, r, r)
		VADDPS(dd, r, r)
		VDIVPS(r, load(number(1)), r)
		VADDPS(r, r, r)
		VMULPS(r, dd, dd)
		VSUBPS(number(1), dd, dd)
		approach(f(coef), f(dcoef), f(gcoef), dd)
		VMULPS(n, d, d)
		VMULPS(r, d, d)
		approach(f(coef+row), f(dcoef+row), f(gcoef+row), d)
		VMULPS(n, n, n)
		VMULPS(r, n, n)
		approach(f(coef+2*row), f(dcoef+2*row), f(gcoef+2*row), n)
	}
	Label("filters")
	ended := GP32()
	for h := range 2 {
		f := func(offset int) Mem { return field(b, offset+32*h) }
		for _, state := range []int{band, low} {
			x := load(f(state))
			size, m := YMM(), YMM()
			VANDPS(word(0x7fffffff), x, size)
			VCMPPS(Imm(greaterEqual), number(1e-18), size, m)
			VANDPS(m, x, x)
			VCMPPS(Imm(lessEqual), number(1e5), size, m)
			VANDPS(m, x, x)
			VMOVUPS(x, f(state))
		}
		l, m, q := load(f(level)), YMM(), YMM()
		VXORPS(m, m, m)
		VCMPPS(Imm(equal), f(to), m, m)
		VCMPPS(Imm(less), number(1e-5), l, q)
		VANDPS(m, q, m)
		VANDNPS(l, m, l)
		VMOVUPS(l, f(level))
		if h == 0 {
			VMOVMSKPS(m, ended)
			continue
		}
		bits := GP32()
		VMOVMSKPS(m, bits)
		SHLL(Imm(8), bits)
		ORL(bits, ended)
	}
	return ended
}

// approach makes the goal of the last period the value of now, and goes to a
// new one.
func approach(now, change, goal Mem, x VecVirtual) {
	r := load(goal)
	VMOVUPS(r, now)
	VMOVUPS(x, goal)
	VSUBPS(r, x, r)
	VMULPS(number(1.0/16), r, r)
	VMOVUPS(r, change)
}

// residuals adds those of both oscillators of all lanes: wherever a phase,
// moved by an offset, comes round.
func residuals(b, table Register, offset uint32, negative bool, label string) {
	mask := GP32()
	for h := range 4 {
		f := func(offset int) Mem { return field(b, offset+32*h) }
		s, i, sum := load(f(lead)), load(f(next)), YMM()
		if offset != 0 {
			VPADDD(word(offset), s, s)
		}
		VPSLLD(Imm(4), i, sum)
		VPADDD(s, sum, sum)
		VPCMPGTD(sum, s, s)
		VPCMPGTD(word(1<<28-1), i, i)
		VPOR(i, s, s)
		if h == 0 {
			VMOVMSKPS(s, mask)
			continue
		}
		more := GP32()
		VMOVMSKPS(s, more)
		SHLL(U8(8*h), more)
		ORL(more, mask)
	}
	start := GP32()
	MOVL(field(b, at), start)
	DECL(start)
	cycle := GP64()
	MOVQ(U64(1<<32), cycle)

	Label(label + "Lane")
	TESTL(mask, mask)
	JZ(LabelRef(label + "Done"))
	lane := GP64() // of the first oscillator, or of the second plus 16
	BSFL(mask, lane.As32())
	less := GP32()
	LEAL(Mem{Base: mask.As64(), Disp: -1}, less)
	ANDL(less, mask)
	of := func(offset int) Mem { return Mem{Base: b, Index: lane, Scale: 4, Disp: offset} }
	i, way := GP64(), GP64()
	MOVL(of(next), i.As32())
	MOVL(of(lead), way.As32())
	if offset^1<<31 != 0 {
		XORL(U32(offset^1<<31), way.As32())
	}
	NEGQ(way)
	ADDQ(cycle, way)
	height, inverse := XMM(), XMM()
	VMOVSS(of(size), height)
	if negative {
		VXORPS(word(1<<31), height, height)
	}
	VMOVSS(of(inv), inverse)
	slots := lane
	ANDL(Imm(15), slots.As32())
	IMUL3Q(U32(ringRow), slots, slots)
	LEAQ(Mem{Base: b, Index: slots, Scale: 1, Disp: ring}, slots)
	steps := GP64()
	MOVQ(i, steps)
	SHLQ(Imm(4), steps)

	Label(label + "Event")
	LEAQ(Mem{Base: way, Index: i, Scale: 1, Disp: -1}, RAX)
	XORL(EDX, EDX)
	DIVQ(i)
	since := GP64()
	MOVQ(RAX, since)
	IMULQ(i, since)
	SUBQ(way, since)
	x, whole := XMM(), XMM()
	VXORPS(x, x, x)
	VCVTSI2SSL(since.As32(), x, x)
	VMULSS(inverse, x, x)
	VMINSS(number(127.99999), x, x)
	r := GP32()
	VCVTTSS2SI(x, r)
	VROUNDSS(Imm(3), x, x, whole)
	VSUBSS(whole, x, x)
	second, first := YMM(), YMM()
	VMULSS(x, height, second.AsX())
	VSUBSS(second.AsX(), height, first.AsX())
	VBROADCASTSS(second.AsX(), second)
	VBROADCASTSS(first.AsX(), first)
	SHLL(Imm(7), r)
	p := GP64()
	LEAQ(Mem{Base: table, Index: r.As64(), Scale: 1}, p)
	for j := range 4 {
		u, v := YMM(), YMM()
		VMULPS(field(p, 32*j), first, u)
		VMULPS(field(p, tableRow+32*j), second, v)
		VADDPS(v, u, u)
		to := GP64()
		LEAL(Mem{Base: RAX, Index: start.As64(), Scale: 1, Disp: 8 * j}, to.As32())
		ANDL(Imm(63), to.As32())
		place := Mem{Base: slots, Index: to, Scale: 4}
		VADDPS(place, u, u)
		VMOVUPS(u, place)
	}
	ADDQ(cycle, way)
	CMPQ(steps, way)
	JGE(LabelRef(label + "Event"))
	JMP(LabelRef(label + "Lane"))
	Label(label + "Done")
}

// transpose copies the period's residuals out of the ring. What it leaves
// there is cleared by run, lane by lane with each frame: here the stores would
// be waited for, there they cost nothing.
func transpose(b Register) {
	p := GP64()
	MOVLQSX(field(b, at), p)
	LEAQ(Mem{Base: b, Index: p, Scale: 4, Disp: ring}, p)
	for lanes := 0; lanes < 16; lanes += 8 {
		for quarter := range 4 {
			var y [4]VecVirtual
			for k := range y {
				y[k] = YMM()
				VBROADCASTF128(field(p, (lanes+k)*ringRow+16*quarter), y[k])
				VINSERTF128(Imm(1), field(p, (lanes+k+4)*ringRow+16*quarter), y[k], y[k])
			}
			ab, cd := YMM(), YMM()
			for high := range 2 {
				if high == 0 {
					VUNPCKLPS(y[1], y[0], ab)
					VUNPCKLPS(y[3], y[2], cd)
				} else {
					VUNPCKHPS(y[1], y[0], ab)
					VUNPCKHPS(y[3], y[2], cd)
				}
				c := YMM()
				VUNPCKLPD(cd, ab, c)
				VMOVUPS(c, field(b, wave+(4*quarter+2*high)*row+lanes*4))
				VUNPCKHPD(cd, ab, c)
				VMOVUPS(c, field(b, wave+(4*quarter+2*high+1)*row+lanes*4))
			}
		}
	}
}

// run renders frames. With AVX-512 all lanes go at once and all state fits the
// registers; with AVX2 one half goes after the other, and what does not change
// stays in memory.
func run(shape string, wide, rest bool) {
	name, doc := "run"+shape, ""
	if rest {
		name, doc = "rest"+shape, ", for voices whose filters and gains rest"
	}
	if wide {
		name, doc = name+"AVX512", "AVX-512"+doc
	} else {
		name, doc = name+"AVX2", "AVX2"+doc
	}
	TEXT(name, NOSPLIT, "func(b, s, extra *float32, from, n int, mask uint32)")
	Pragma("noescape")
	Doc(name + " is bank.run with " + doc + "; extra points at the first frame's.")
	b := Load(Param("b"), GP64())
	sum := Load(Param("s"), GP64())
	extra := Load(Param("extra"), GP64())
	waves := Load(Param("from"), GP64())
	SHLQ(Imm(6), waves)
	LEAQ(Mem{Base: b, Index: waves, Scale: 1, Disp: wave}, waves)
	used := Load(Param("from"), GP64())
	IMUL3Q(U32(ringRow), used, used)
	ADDQ(b, used)
	now := GP64()
	MOVL(field(b, at), now.As32())
	ADDL(Imm(48), now.As32()) // the period before: at has moved on
	ANDL(Imm(63), now.As32())
	LEAQ(Mem{Base: used, Index: now, Scale: 4, Disp: ring}, used)
	n := Load(Param("n"), GP64())
	if wide {
		loop(shape, wide, rest, "frame", b, sum, extra, waves, used, n, 0)
		VZEROUPPER()
		RET()
		return
	}
	mask := Load(Param("mask"), GP32())
	for h, end := range []string{"upper", "done"} {
		TESTL(U32(0xff<<(8*h)), mask)
		JZ(LabelRef(end))
		s, e, w, c, u := GP64(), GP64(), GP64(), GP64(), GP64()
		MOVQ(sum, s)
		MOVQ(used, u)
		MOVQ(extra, e)
		MOVQ(waves, w)
		MOVQ(n, c)
		loop(shape, wide, rest, []string{"frame0", "frame1"}[h], b, s, e, w, u, c, 32*h)
		Label(end)
	}
	VZEROUPPER()
	RET()
}

func loop(shape string, wide, rest bool, label string, b, sum, extra, waves, used, n Register, lanes int) {
	vector := func() VecVirtual {
		if wide {
			return ZMM()
		}
		return YMM()
	}
	f := func(offset int) Mem { return field(b, offset+lanes) }
	get := func(offset int) VecVirtual {
		r := vector()
		VMOVUPS(f(offset), r)
		return r
	}
	// steady is what does not change: in a register where there are enough.
	steady := func(offset int) Op {
		if wide {
			return get(offset)
		}
		return f(offset)
	}
	p := [2]VecVirtual{get(phase), get(phase + row)}
	i := [2]Op{steady(inc), steady(inc + row)}
	s := [2]Op{steady(scale), steady(scale + row)}
	k := [3]VecVirtual{get(coef), get(coef + row), get(coef + 2*row)}
	var dk [3]Op
	if !rest {
		dk = [3]Op{steady(dcoef), steady(dcoef + row), steady(dcoef + 2*row)}
	}
	vband, vlow := get(band), get(low)
	vlevel, vto, vshare := get(level), get(to), get(share)
	var vtop, vthen, vthenWith Op
	if !rest {
		vtop, vthen, vthenWith = steady(top), steady(then), steady(thenWith)
	}
	g := [2]VecVirtual{get(gain), get(gain + row)}
	var dg [2]Op
	if !rest {
		dg = [2]Op{steady(dgain), steady(dgain + row)}
	}

	Label(label)
	var x VecVirtual
	for o := range p {
		VPADDD(i[o], p[o], p[o])
		y := shapeOf(shape, wide, vector, p[o])
		VMULPS(s[o], y, y)
		if o == 0 {
			x = y
		} else {
			VADDPS(y, x, x)
		}
	}
	VADDPS(field(waves, lanes), x, x)
	if !rest {
		for j := range k {
			VADDPS(dk[j], k[j], k[j])
		}
	}
	// x becomes t.
	VSUBPS(vlow, x, x)
	u, w := vector(), vector()
	VMULPS(vband, k[1], u)
	VMULPS(x, k[2], w)
	VADDPS(vlow, u, u)
	VADDPS(w, u, u) // the new low, three operations after the old one
	VMULPS(k[1], x, x)
	VMULPS(k[0], vband, vband)
	VADDPS(x, vband, vband)
	VADDPS(u, vlow, x) // twice the output
	VMOVAPS(u, vlow)

	e := vector()
	VSUBPS(vlevel, vto, e)
	VMULPS(vshare, e, e)
	VADDPS(e, vlevel, vlevel)
	switch {
	case rest:
	case wide:
		m := K()
		VCMPPS(Imm(greaterEqual), vtop, vlevel, m)
		VMINPS(vtop, vlevel, vlevel)
		VMOVAPS(vthen, m, vto)
		VMOVAPS(vthenWith, m, vshare)
	default:
		m := vector()
		VCMPPS(Imm(greaterEqual), vtop, vlevel, m)
		VMINPS(vtop, vlevel, vlevel)
		VBLENDVPS(m, vthen, vto, vto)
		VBLENDVPS(m, vthenWith, vshare, vshare)
	}
	VMULPS(vlevel, x, x)
	if !rest {
		VADDPS(field(extra, lanes), x, x)
	}
	for side := range g {
		if !rest {
			VADDPS(dg[side], g[side], g[side])
		}
		y := vector()
		VMULPS(g[side], x, y)
		place := field(sum, side*sumRight+lanes)
		VADDPS(place, y, y)
		VMOVUPS(y, place)
	}
	nothing := vector()
	if wide {
		VPXORD(nothing, nothing, nothing)
	} else {
		VXORPS(nothing, nothing, nothing)
		VMOVUPS(nothing, field(used, 32))
	}
	VMOVUPS(nothing, field(used, 0))
	ADDQ(U32(ringRow), used)
	ADDQ(Imm(row), waves)
	if !rest {
		ADDQ(Imm(row), extra)
	}
	ADDQ(Imm(row), sum)
	DECQ(n)
	JNZ(LabelRef(label))

	put := func(v VecVirtual, offset int) { VMOVUPS(v, f(offset)) }
	for o := range p {
		put(p[o], phase+o*row)
	}
	put(vband, band)
	put(vlow, low)
	put(vlevel, level)
	if rest {
		return
	}
	for o := range g {
		put(g[o], gain+o*row)
	}
	for j := range k {
		put(k[j], coef+j*row)
	}
	put(vto, to)
	put(vshare, share)
}

// stereo adds up the lanes of a sum, frame by frame, and clears it.
func stereo() {
	TEXT("stereoAVX2", NOSPLIT, "func(s, left, right *float32)")
	Pragma("noescape")
	Doc("stereoAVX2 is Sum.stereo for a whole period; it writes and does not add.")
	s := Load(Param("s"), GP64())
	out := [2]Register{Load(Param("left"), GP64()), Load(Param("right"), GP64())}
	zero := YMM()
	VXORPS(zero, zero, zero)
	for side := range out {
		for block := range 2 {
			var x [8]VecVirtual
			for f := range x {
				p := side*sumRight + (8*block+f)*row
				x[f] = load(field(s, p))
				VADDPS(field(s, p+32), x[f], x[f])
				VMOVUPS(zero, field(s, p))
				VMOVUPS(zero, field(s, p+32))
			}
			for f := 0; f < 8; f += 2 {
				VHADDPS(x[f+1], x[f], x[f])
			}
			for f := 0; f < 8; f += 4 {
				VHADDPS(x[f+2], x[f], x[f])
			}
			y := YMM()
			VPERM2F128(Imm(0x20), x[4], x[0], y)
			VPERM2F128(Imm(0x31), x[4], x[0], x[0])
			VADDPS(x[0], y, y)
			VMOVUPS(y, field(out[side], 32*block))
		}
	}
	VZEROUPPER()
	RET()
}

// shapeOf makes of phases, plus half a cycle, the naive shape.
func shapeOf(shape string, wide bool, vector func() VecVirtual, p VecVirtual) VecVirtual {
	y := vector()
	flip := func(from, to VecVirtual) {
		if wide {
			VPXORD(word(1<<31), from, to)
		} else {
			VPXOR(word(1<<31), from, to)
		}
	}
	switch shape {
	case "Saw":
		VCVTDQ2PS(p, y)
		return y
	case "Triangle":
		m := vector()
		flip(p, y)
		VPSRAD(Imm(31), y, m)
		if wide {
			VPXORD(m, y, y)
		} else {
			VPXOR(m, y, y)
		}
		VPSLLD(Imm(1), y, y)
		flip(y, y)
		VCVTDQ2PS(y, y)
		return y
	}
	m, z := vector(), vector()
	flip(p, y)
	VPSLLD(Imm(1), y, m)
	VMOVUPS(word(1<<31), z)
	VPSUBD(y, z, z)
	if wide {
		k := K()
		VPXORD(m, y, m)
		VPMOVD2M(m, k)
		VMOVAPS(z, k, y)
	} else {
		VPXOR(m, y, m)
		VBLENDVPS(m, z, y, y)
	}
	VCVTDQ2PS(y, y)
	VMULPS(number(1.0/(1<<30)), y, y)
	VMULPS(y, y, z)
	VMULPS(number(0.00015148419), z, m)
	for _, c := range []float32{-0.00467376557, 0.07968967928, -0.64596371106} {
		VADDPS(number(c), m, m)
		VMULPS(z, m, m)
	}
	VADDPS(number(1.57079631847), m, m)
	VMULPS(m, y, y)
	return y
}
