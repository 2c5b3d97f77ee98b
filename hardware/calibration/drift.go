package calibration

import (
	"cmp"
	"math"
	"slices"
)

// A reading is one visit of a note.
type reading struct {
	group int     // readings of one group would be the same without drift and noise
	at    float64 // seconds
	cents float64
}

// wander is what an oscillator drifts by, in cents over seconds, as straight pieces between knots
// at even distances. It is 0 at the last reading: what is measured is to hold from then on.
type wander struct {
	begin, step float64
	knots       []float64
	noise       float64 // RMS of a reading around it, cents
}

const (
	// knotSeconds is the distance of the knots. Oscillators drift over minutes.
	knotSeconds = 15
	// bendSigma is how much the drift may bend from one knot to the next, in cents: enough for an
	// oscillator that warms up, and too little to follow the noise of single readings.
	bendSigma = 0.5
)

// at is the drift at a time.
func (w *wander) at(t float64) float64 {
	if w == nil || len(w.knots) == 0 {
		return 0
	}
	if len(w.knots) == 1 {
		return w.knots[0]
	}
	i, f := w.place(t)
	return w.knots[i] + (w.knots[i+1]-w.knots[i])*f
}

func (w *wander) place(t float64) (int, float64) {
	x := (t - w.begin) / w.step
	i := min(max(int(x), 0), len(w.knots)-2)
	return i, min(max(x-float64(i), 0), 1)
}

// perMinute is the slope of the whole in cents a minute.
func (w *wander) perMinute() float64 {
	if w == nil || len(w.knots) < 2 {
		return 0
	}
	var p []Point
	for i, k := range w.knots {
		p = append(p, Point{float64(i) * w.step / 60, k})
	}
	return lineThrough(p).gain
}

// wanderOf separates drift from what the notes themselves are off by: of the same note, what
// differs between two visits is drift or noise. It is a least-squares fit of the knots with one
// unknown a group, which falls out when each group is taken relative to its mean; readings that do
// not fit count less the farther they are off (Huber's weights, found again a few times).
func wanderOf(readings []reading) *wander {
	if len(readings) < 2 {
		return &wander{}
	}
	first := slices.MinFunc(readings, func(a, b reading) int { return cmp.Compare(a.at, b.at) }).at
	last := slices.MaxFunc(readings, func(a, b reading) int { return cmp.Compare(a.at, b.at) }).at
	if last-first < 1 {
		return &wander{}
	}
	n := max(2, int((last-first)/knotSeconds)+2)
	w := &wander{begin: first, step: (last - first) / float64(n-1), knots: make([]float64, n)}
	groups := map[int][]int{}
	for i, r := range readings {
		groups[r.group] = append(groups[r.group], i)
	}
	var order []int
	for g := range groups {
		order = append(order, g)
	}
	slices.Sort(order) // sums in the same order give the same figures
	weight := make([]float64, len(readings))
	for i := range weight {
		weight[i] = 1
	}
	sigma := 0.1
	for range 8 {
		a := make([][]float64, n)
		for i := range a {
			a[i] = make([]float64, n+1)
		}
		for _, g := range order {
			members := groups[g]
			if len(members) < 2 {
				continue
			}
			var sum, mean float64
			basis := make([]float64, n)
			for _, i := range members {
				k, f := w.place(readings[i].at)
				sum += weight[i]
				mean += weight[i] * readings[i].cents
				basis[k] += weight[i] * (1 - f)
				basis[k+1] += weight[i] * f
			}
			mean /= sum
			for k := range basis {
				basis[k] /= sum
			}
			for _, i := range members {
				k, f := w.place(readings[i].at)
				row := make([]float64, n)
				for j := range row {
					row[j] = -basis[j]
				}
				row[k] += 1 - f
				row[k+1] += f
				for x := range row {
					if row[x] == 0 {
						continue
					}
					for y := range row {
						a[x][y] += weight[i] * row[x] * row[y]
					}
					a[x][n] += weight[i] * row[x] * (readings[i].cents - mean)
				}
			}
		}
		bend := (sigma * sigma) / (bendSigma * bendSigma)
		for k := 1; k < n-1; k++ {
			d := [3]float64{1, -2, 1}
			for x := range d {
				for y := range d {
					a[k-1+x][k-1+y] += bend * d[x] * d[y]
				}
			}
		}
		// Only differences are known: the level is set below, and slopes that nothing tells are 0.
		for k := range n {
			a[k][k] += 1e-6
		}
		w.knots = solve(a)
		var off []float64
		for _, g := range order {
			members := groups[g]
			if len(members) < 2 {
				continue
			}
			var rest []float64
			for _, i := range members {
				rest = append(rest, readings[i].cents-w.at(readings[i].at))
			}
			m := median(rest)
			for j, i := range members {
				off = append(off, math.Abs(rest[j]-m))
				weight[i] = math.Abs(rest[j] - m) // for the moment
			}
		}
		// Of groups of two the median lies between them: their distance from it is too small by √2.
		sigma = max(0.005, 1.4826*median(off)*math.Sqrt2)
		for _, g := range order {
			for _, i := range groups[g] {
				if d := weight[i]; len(groups[g]) > 1 && d > 1.5*sigma {
					weight[i] = 1.5 * sigma / d
				} else {
					weight[i] = 1
				}
			}
		}
	}
	w.noise = sigma
	end := w.at(last)
	for k := range w.knots {
		w.knots[k] -= end
	}
	return w
}

// solve solves a system of linear equations whose right side is the last column, by elimination
// with pivots. The matrix is lost.
func solve(a [][]float64) []float64 {
	n := len(a)
	for k := range n {
		best := k
		for i := k + 1; i < n; i++ {
			if math.Abs(a[i][k]) > math.Abs(a[best][k]) {
				best = i
			}
		}
		a[k], a[best] = a[best], a[k]
		if a[k][k] == 0 {
			continue
		}
		for i := k + 1; i < n; i++ {
			f := a[i][k] / a[k][k]
			for j := k; j <= n; j++ {
				a[i][j] -= f * a[k][j]
			}
		}
	}
	x := make([]float64, n)
	for k := n - 1; k >= 0; k-- {
		v := a[k][n]
		for j := k + 1; j < n; j++ {
			v -= a[k][j] * x[j]
		}
		if a[k][k] != 0 {
			x[k] = v / a[k][k]
		}
	}
	return x
}

// median of figures, NaN of none.
func median(x []float64) float64 {
	if len(x) == 0 {
		return nan
	}
	s := slices.Clone(x)
	slices.Sort(s)
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
