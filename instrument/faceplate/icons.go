package faceplate

import (
	"math"
	"strings"
)

// icons are fine lines on a field of 24 × 24, drawn for this rack: what a
// module does, within the heptagon that frames all of them.
var icons = map[string]string{
	"deployment":   "M8 9h5v5h-5zM11 9v-2.5h5v5h-3M8 16.5h5",
	"pod":          "M12 6.5l4.8 2.7v5.6l-4.8 2.7l-4.8-2.7v-5.6zM7.2 9.2l4.8 2.7l4.8-2.7M12 11.9v5.6",
	"service":      "M12 10.2v-3.2M10.6 13l-3.1 2.2M13.4 13l3.1 2.2M13.8 12a1.8 1.8 0 1 1-3.6 0a1.8 1.8 0 1 1 3.6 0M12.9 6.4a.9.9 0 1 1-1.8 0a.9.9 0 1 1 1.8 0M7.8 15.7a.9.9 0 1 1-1.8 0a.9.9 0 1 1 1.8 0M18 15.7a.9.9 0 1 1-1.8 0a.9.9 0 1 1 1.8 0",
	"ingress":      "M6 12h7M10.6 9.2l2.8 2.8l-2.8 2.8M14.5 7h3v10h-3",
	"node":         "M7 7.5h10v3.6h-10zM7 12.9h10v3.6h-10zM9 9.3h.6M9 14.7h.6M12 9.3h3M12 14.7h3",
	"namespace":    "M7 9.5v-2.5h2.5M14.5 7h2.5v2.5M17 14.5v2.5h-2.5M9.5 17h-2.5v-2.5M10.4 10.4h3.2v3.2h-3.2z",
	"hpa":          "M7 16.5h2.2v-3h-2.2zM10.9 16.5h2.2v-5.5h-2.2zM14.8 16.5h2.2v-8h-2.2zM7 10.6l3.4-3.4M8.2 7.2h2.2v2.2",
	"cronjob":      "M17.2 12a5.2 5.2 0 1 1-10.4 0a5.2 5.2 0 1 1 10.4 0M12 8.8v3.2l2.4 1.6",
	"job":          "M6.5 16.5l3-8h5l3 8M9.6 13.2l1.8 1.8l3-3.4",
	"controller":   "M16.6 10.4a5 5 0 0 0-9-.9M7.4 13.6a5 5 0 0 0 9 .9M7 7l.5 2.6l2.6-.4M17 17l-.5-2.6l-2.6.4M12.9 12a.9.9 0 1 1-1.8 0a.9.9 0 1 1 1.8 0",
	"etcd":         "M16.6 8.2c0 1-2 1.8-4.6 1.8s-4.6-.8-4.6-1.8s2-1.8 4.6-1.8s4.6.8 4.6 1.8zM7.4 8.2v7.6c0 1 2 1.8 4.6 1.8s4.6-.8 4.6-1.8v-7.6M7.4 12c0 1 2 1.8 4.6 1.8s4.6-.8 4.6-1.8",
	"apiserver":    "M8 17v-7.5a4 4 0 0 1 8 0v7.5zM8 17h8M13.8 13h.4M10.4 6.9v10.1",
	"rule":         "M10.6 15.6a1.7 1.5 0 1 1-3.4 0a1.7 1.5 0 1 1 3.4 0M10.6 15.6v-8.6l5.8 1.6v2.4l-5.8-1.6",
	"vco":          "M6 14.5l4-6v6l4-6v6l4-6v6",
	"vcf":          "M6 9.5h4.6c1.6 0 1.8-2.4 2.9-2.4s1.5 5 4.5 9.4M6 16.8h12",
	"vca":          "M8 7v10l9-5zM5.8 12h2.2M17 12h1.6",
	"adsr":         "M6 16.5l2.6-9l2.4 4h3.6l3.4 5",
	"lfo":          "M5.6 12c1.6-6.4 4.8-6.4 6.4 0s4.8 6.4 6.4 0",
	"sample_hold":  "M6 15h2.6v-4.6h3v-3h3v5.2h3.4M6 17.6h12",
	"slew":         "M6 15.5c1-4.5 2.6-7 5.4-7h1.2c.4 3.8 2.4 6.6 5.4 7",
	"attenuverter": "M6.5 16.5l11-9M6.5 7.5l11 9M6 12h12",
	"scope":        "M6.4 7.4h11.2v9.2h-11.2zM8 12h1.8l1.2-2.6l2 5.2l1.2-2.6h1.8",
	"voice":        "M7 10.4v3.2M9.5 8.4v7.2M12 6.6v10.8M14.5 8.8v6.4M17 10.6v2.8",
	"noise":        "M6 12.6l1.2-3l1 5.4l1.2-7.4l1.2 8l1.2-5.4l1.2 6l1-9l1.2 7.6l1.2-4l1 3.4l1-1.6",
	"reverb":       "M8.6 12a.8.8 0 1 1-1.6 0a.8.8 0 1 1 1.6 0M10.4 8.8a4.6 4.6 0 0 1 0 6.4M12.8 7.2a7 7 0 0 1 0 9.6M15.2 5.8a9.4 9.4 0 0 1 0 12.4",
	"mixer":        "M8 7v10M12 7v10M16 7v10M6.8 13.6h2.4M10.8 9.6h2.4M14.8 12h2.4",
	"clock":        "M9.4 7h5.2l2 10h-9.2zM12 14.2l3.4-6.4M8 14.2h8",
	"euclid":       "M12 5.9v1.2M16.3 7.7l-.9.9M18.1 12h-1.2M16.3 16.3l-.9-.9M12 18.1v-1.2M7.7 16.3l.9-.9M5.9 12h1.2M7.7 7.7l.9.9M12 8.6l3 5.2h-6z",
	"quantizer":    "M6 16.5h3v-3h3v-3h3v-3h3M6 13l11-7",
	"delay":        "M7 16.8v-10M10.2 16.8v-7.4M13.4 16.8v-5M16.6 16.8v-2.8",
	"chorus":       "M6 9c2-2.6 4-2.6 6 0s4 2.6 6 0M6 12c2-2.6 4-2.6 6 0s4 2.6 6 0M6 15c2-2.6 4-2.6 6 0s4 2.6 6 0",
	"compressor":   "M6.5 16.5l5.5-5.5l5.5-2M6.5 7v9.5h11M12 11v5.5",
	"drum":         "M17.5 9.2c0 1.2-2.4 2.1-5.5 2.1s-5.5-.9-5.5-2.1s2.4-2.1 5.5-2.1s5.5.9 5.5 2.1zM6.5 9.2v5.6c0 1.2 2.4 2.1 5.5 2.1s5.5-.9 5.5-2.1v-5.6M9 11l1.5 5.8M15 11l-1.5 5.8",
	"audio_out":    "M7 10.2h2.2l3-2.8v9.2l-3-2.8h-2.2zM14.2 9.8a3 3 0 0 1 0 4.4M16 8a5.6 5.6 0 0 1 0 8",
	"audio_in":     "M10.2 6.5h3.6v6.4a1.8 1.8 0 0 1-3.6 0zM8 12.4a4 4 0 0 0 8 0M12 16.4v1.8",
	"midi_in":      "M17.4 12a5.4 5.4 0 1 1-10.8 0a5.4 5.4 0 1 1 10.8 0M9 12.6h.2M10 14.6h.2M12 15.4h.2M14 14.6h.2M14.8 12.6h.2M12 5v5M10.4 8.4l1.6 1.6l1.6-1.6",
	"midi_out":     "M17.4 12a5.4 5.4 0 1 1-10.8 0a5.4 5.4 0 1 1 10.8 0M9 12.6h.2M10 14.6h.2M12 15.4h.2M14 14.6h.2M14.8 12.6h.2M12 10v-5M10.4 6.6l1.6-1.6l1.6 1.6",
	"cv_out":       "M11 12a2.4 2.4 0 1 1-4.8 0a2.4 2.4 0 1 1 4.8 0M11 12h7M15.4 9.4l2.6 2.6l-2.6 2.6",
	"cv_in":        "M17.8 12a2.4 2.4 0 1 1-4.8 0a2.4 2.4 0 1 1 4.8 0M6 12h7M10.4 9.4l2.6 2.6l-2.6 2.6",
	"gate_out":     "M6 15h3v-6h5v6h4M15 6l2.6 2.6l-2.6 2.6",
	"":             "M9.6 9.6h4.8v4.8h-4.8z",
}

func icon(kind string) string {
	if d, ok := icons[kind]; ok {
		return d
	}
	return icons[""]
}

// families say which modules belong together; each has a colour.
var families = map[string]string{
	"deployment": "workload", "pod": "workload", "hpa": "workload", "cronjob": "workload", "job": "workload",
	"service": "network", "ingress": "network",
	"node": "machine", "namespace": "machine", "etcd": "machine", "apiserver": "machine",
	"controller": "control", "rule": "control",
	"vco": "source", "noise": "source", "voice": "source", "drum": "source",
	"vcf": "shaper", "vca": "shaper", "reverb": "shaper", "delay": "shaper", "chorus": "shaper", "compressor": "shaper", "mixer": "shaper",
	"adsr": "time", "lfo": "time", "clock": "time", "euclid": "time",
	"sample_hold": "utility", "slew": "utility", "attenuverter": "utility", "scope": "utility", "quantizer": "utility",
	"audio_out": "io", "audio_in": "io", "cv_out": "io", "cv_in": "io", "gate_out": "io", "midi_in": "io", "midi_out": "io",
}

// Family returns the family of a kind of module: workload, network, machine,
// control, source, shaper, time, io or utility.
func Family(kind string) string {
	if f, ok := families[kind]; ok {
		return f
	}
	return "utility"
}

// heptagon is the frame of every icon, of radius r about x, y.
func heptagon(x, y, r float64) string {
	var d strings.Builder
	for i := range 7 {
		a := -math.Pi/2 + 2*math.Pi*float64(i)/7
		if i == 0 {
			d.WriteByte('M')
		} else {
			d.WriteByte('L')
		}
		d.WriteString(mm(x+r*math.Cos(a)) + " " + mm(y+r*math.Sin(a)))
	}
	d.WriteByte('Z')
	return d.String()
}
