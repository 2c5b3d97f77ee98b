package instrument

func ruleSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "rule", Title: "Rule", HP: 6, Plus12: 25, Minus12: 5,
		Doc: "Plays what the scene's rules make of the cluster's transitions, one channel of the rules in each channel of its jacks.",
		New: func() Processor { return newPanel("rule") },
		Outputs: []JackSpec{
			{Name: "pitch", Kind: Pitch, Poly: true, Doc: "pitch of each channel's last note"},
			{Name: "gate", Kind: Gate, Poly: true, Doc: "high while a channel's note or gate holds"},
			{Name: "velocity", Kind: CV, Poly: true, Unit: "10 V = 127", Step: true, Doc: "how hard each channel's last note was struck"},
			{Name: "trigger", Kind: Trigger, Poly: true, Doc: "a note began"},
			{Name: "cv", Kind: CV, Poly: true, Doc: "what each channel's CV rule came to"},
		},
	}
}
