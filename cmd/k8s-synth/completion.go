package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/hardware/rig"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// completionWait is how long a shell waits for the running instrument, or for
// audio systems: whoever has pressed Tab does not wait longer.
const completionWait = 300 * time.Millisecond

// offers returns what may stand in a place of a command line, as NAME or
// NAME\tWHAT. Args are those before it.
type offers func(cmd *cobra.Command, args []string) []cobra.Completion

// place is what an argument or a flag takes.
type place struct {
	offers offers
	// files are the endings of files that it takes as well, without dots.
	files []string
	// many tells that all arguments from here on are of this kind.
	many bool
	dirs bool
}

// completions tells shells what the arguments and flags of every command take.
// It walks the tree, so that commands need not know.
func completions(root *cobra.Command) {
	scene, sceneFile := place{offers: sceneOffers}, place{offers: sceneOffers, files: []string{"yaml"}}
	rigs := place{offers: rigOffers, files: []string{"yaml"}}
	maps := place{offers: mapOffers, files: []string{"yaml"}}
	calibrated := place{offers: calibratedOffers, files: []string{"yaml"}}
	slot := place{offers: slotOffers}
	take, vcv := place{files: []string{"jsonl"}}, place{files: []string{"vcv"}}
	kinds := func(many bool) place { return place{offers: kindOffers, many: many} }
	word := func(words ...string) place { return place{offers: oneOf(words...)} }
	several := func(p place) place { p.many = true; return p }

	arguments := map[string][]place{
		"render":                 {sceneFile},
		"scene show":             {sceneFile},
		"scene topology":         {sceneFile},
		"scene diff":             {sceneFile, sceneFile},
		"scene launch":           {scene},
		"scene morph":            {scene},
		"scene validate":         {several(place{files: []string{"yaml"}})},
		"scene restore":          {{offers: backupOffers}},
		"scene slot":             {slot},
		"scene snapshot":         {slot},
		"scene setlist play":     {{offers: setListOffers}},
		"scene setlist validate": {several(place{files: []string{"yaml"}})},
		"layout touchosc":        {sceneFile},
		"midi names":             {sceneFile},
		"rack audit":             {sceneFile},
		"vcv export":             {sceneFile},
		"vcv import":             {vcv},
		"vcv show":               {vcv},
		"modules":                {kinds(false)},
		"panels":                 {kinds(true)},
		"map show":               {maps},
		"map validate":           {several(maps)},
		"map learn":              {{offers: addressOffers}},
		"plug":                   {{offers: outputOffers}, {offers: inputOffers}},
		"pull":                   {{offers: heldOffers}},
		"scope":                  {{offers: scopeOffers}},
		"save":                   {{offers: ownSceneOffers}},
		"rig show":               {rigs},
		"rig check":              {several(rigs)},
		"rig profiles":           {{offers: profileOffers}},
		"rig new":                {{offers: deviceOffers}},
		"calibrate show":         {calibrated},
		"calibrate drift":        {calibrated},
		"calibrate export":       {calibrated},
		"calibrate import":       {{files: []string{}}},
		"take show":              {take},
		"take export":            {take},
		"take import":            {several(place{files: []string{}})},
		"take list":              {several(place{dirs: true})},
		"site sound":             {{offers: pieceOffers}},
	}
	// Flags of one command come before those of that name of any.
	flags := map[string]place{
		"scene":                  sceneFile,
		"rig":                    {offers: func(c *cobra.Command, a []string) []cobra.Completion { return append(rigOffers(c, a), off) }, files: []string{"yaml"}},
		"backend":                {offers: func(*cobra.Command, []string) []cobra.Completion { return hardware.Backends() }},
		"device":                 {offers: deviceOffers},
		"map":                    {offers: func(c *cobra.Command, a []string) []cobra.Completion { return append(mapOffers(c, a), off) }, files: []string{"yaml"}},
		"state-dir":              {dirs: true},
		"take":                   take,
		"replay":                 take,
		"script":                 {offers: scriptOffers, files: []string{"yaml", "jsonl"}},
		"picture":                {files: []string{"png"}},
		"svg":                    {files: []string{"svg"}},
		"jack":                   {offers: jackOffers},
		"at":                     {offers: func(*cobra.Command, []string) []cobra.Completion { return quanta() }},
		"supply":                 {offers: supplyOffers, files: []string{"yaml"}},
		"profile":                {offers: profileOffers},
		"theme":                  word("matte", "light", "stage"),
		"calibrate":              word("output", "input"),
		"reach":                  word("auto", "direct", "proxy"),
		"play record":            {files: []string{"wav"}},
		"play midi":              word("all", off),
		"play panel":             word("auto"),
		"play osc":               word(off),
		"play osc-tcp":           word("auto", off),
		"play oscquery":          word("auto", off),
		"play web":               word(off),
		"play rtp":               word(off),
		"play metrics":           word(off),
		"render output":          {files: []string{"wav", "flac"}},
		"layout touchosc output": {files: []string{"tosc", "touchosc", "html", "csv", "yaml"}},
		"layout touchosc format": word("tosc", "touchosc", "html", "csv", "yaml"),
		"layout touchosc size":   word("tablet", "phone"),
		"layout touchosc midi":   word("no", "also", "only"),
		"map show format":        word("markdown", "csv", "yaml"),
		"midi names output":      {files: []string{"midnam"}},
		"take import output":     take,
		"take export midi":       {files: []string{"mid"}},
		"take export csv":        {files: []string{"csv"}},
		"take export wav":        {dirs: true},
		"vcv import output":      {files: []string{"yaml"}},
		"vcv export output":      {files: []string{"vcv"}},
		"rig new output":         {files: []string{"yaml"}},
		"site output":            {dirs: true},
		"site shots":             {dirs: true},
	}
	for _, c := range []string{"ear", "loop", "meter"} {
		flags["calibrate "+c+" input"] = place{offers: jackInputOffers}
	}
	for _, c := range []string{"ear", "loop", "meter", "import", "show", "drift"} {
		flags["calibrate "+c+" output"] = place{files: []string{"svg"}}
	}

	root.InitDefaultCompletionCmd()
	var walk func(c *cobra.Command, path string)
	walk = func(c *cobra.Command, path string) {
		for _, sub := range c.Commands() {
			walk(sub, strings.TrimSpace(path+" "+sub.Name()))
		}
		if c.DisableFlagParsing || strings.HasPrefix(path, "completion") {
			return
		}
		if !c.HasSubCommands() {
			c.ValidArgsFunction = complete(arguments[path])
		}
		names := map[string]place{}
		for key, p := range flags {
			if on, flag, ok := cutLast(key); !ok {
				if _, mine := names[flag]; !mine {
					names[flag] = p
				}
			} else if on == path {
				names[flag] = p
			}
		}
		for name, p := range names {
			if f := c.Flags().Lookup(name); f != nil && f.Value.Type() != "bool" {
				_ = c.RegisterFlagCompletionFunc(name, completeFlag(p)) // the flag is there, and has none
			}
		}
	}
	walk(root, "")
	shells(root)
}

// cutLast splits "COMMAND FLAG"; without a command there is none.
func cutLast(key string) (command, flag string, ok bool) {
	i := strings.LastIndexByte(key, ' ')
	if i < 0 {
		return "", key, false
	}
	return key[:i], key[i+1:], true
}

// shells makes a shell that there is no completion for a mistake.
func shells(root *cobra.Command) {
	c, _, err := root.Find([]string{"completion"})
	if err != nil || c == root {
		return
	}
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("there is no completion for %q; there is one for bash, zsh, fish and powershell", args[0])
		}
		return nil
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// complete completes the arguments of a command, one place after the other.
func complete(places []place) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		i := len(args)
		if n := len(places); i >= n && n > 0 && places[n-1].many {
			i = n - 1
		}
		if i >= len(places) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return places[i].complete(cmd, args, begun)
	}
}

func completeFlag(p place) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return p.complete(cmd, args, begun)
	}
}

func (p *place) complete(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if p.dirs {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	var all []cobra.Completion
	if p.offers != nil {
		for _, o := range p.offers(cmd, args) {
			name, _, _ := strings.Cut(o, "\t")
			if strings.HasPrefix(name, begun) && !slices.Contains(args, name) {
				all = append(all, o)
			}
		}
	}
	switch {
	case len(all) > 0 || p.files == nil:
		return all, cobra.ShellCompDirectiveNoFileComp
	case len(p.files) == 0:
		return nil, cobra.ShellCompDirectiveDefault
	}
	return p.files, cobra.ShellCompDirectiveFilterFileExt
}

// offer is a name with what it is.
func offer(name, what string) cobra.Completion {
	if what = shortened(what, longestTitle); what == "" {
		return name
	}
	return cobra.CompletionWithDesc(name, what)
}

func oneOf(words ...string) offers {
	return func(*cobra.Command, []string) []cobra.Completion { return words }
}

// entryOffers are those of a list that can be read.
func entryOffers(list []scenes.Entry, err error) (all []cobra.Completion) {
	if err != nil {
		return nil // whoever completes is told nothing; the command says it
	}
	for _, e := range list {
		if e.Err == nil {
			all = append(all, offer(e.Name, e.Title))
		}
	}
	return all
}

func sceneOffers(*cobra.Command, []string) []cobra.Completion { return entryOffers(openStore().List()) }

func ownSceneOffers(*cobra.Command, []string) []cobra.Completion {
	list, err := openStore().List()
	return entryOffers(slices.DeleteFunc(list, func(e scenes.Entry) bool { return e.Path == "" }), err)
}

func scriptOffers(*cobra.Command, []string) []cobra.Completion {
	return append(entryOffers(openStore().Scripts()), offer("none", "a cluster that stays away"))
}

func setListOffers(*cobra.Command, []string) []cobra.Completion {
	return append(entryOffers(openStore().SetLists()), offer(off, "no set list"))
}

func slotOffers(*cobra.Command, []string) (all []cobra.Completion) {
	for i := range scenes.Slots {
		all = append(all, strconv.Itoa(i+1))
	}
	return all
}

func backupOffers(cmd *cobra.Command, _ []string) (all []cobra.Completion) {
	dir, err := completedStateDir(cmd)
	if err != nil {
		return nil
	}
	list, _ := scenes.Backups(sessionDir(dir))
	for _, b := range list {
		if b.Err == nil {
			all = append(all, offer(strconv.FormatUint(b.Number, 10), b.Time.Format(time.DateTime)+" "+b.Name))
		}
	}
	return all
}

func pieceOffers(*cobra.Command, []string) (all []cobra.Completion) {
	cfg, err := siteConfig()
	if err != nil {
		return nil
	}
	for _, p := range cfg.Pieces {
		all = append(all, p.Name)
	}
	return all
}

func kindOffers(*cobra.Command, []string) (all []cobra.Completion) {
	for _, s := range instrument.Specs() {
		all = append(all, offer(s.Kind, s.Title))
	}
	return all
}

func mapOffers(*cobra.Command, []string) (all []cobra.Completion) {
	list, _ := mapLibrary().List()
	for _, e := range list {
		if e.Err == nil {
			all = append(all, offer(e.Name, e.Title))
		}
	}
	return all
}

func rigOffers(*cobra.Command, []string) (all []cobra.Completion) {
	list, _ := rigLibrary().List()
	for _, e := range list {
		if e.Err == nil {
			all = append(all, offer(e.Name, e.Title))
		}
	}
	return all
}

func profileOffers(*cobra.Command, []string) (all []cobra.Completion) {
	list, _ := rig.Profiles()
	for _, p := range list {
		all = append(all, offer(p.Name, p.Title))
	}
	return all
}

func supplyOffers(*cobra.Command, []string) (all []cobra.Completion) {
	list, _ := supplyLibrary().List()
	for _, e := range list {
		if e.Err == nil {
			all = append(all, offer(e.Name, e.Title))
		}
	}
	return all
}

func calibratedOffers(*cobra.Command, []string) (all []cobra.Completion) {
	list, _ := calibrationStore().List()
	for _, d := range list {
		all = append(all, offer(d.Jack, fmt.Sprintf("%s %d of %s", d.Direction, d.Channel, d.Interface)))
	}
	return all
}

// jackOffers are the outputs of the rig that the command names.
func jackOffers(cmd *cobra.Command, _ []string) []cobra.Completion { return rigJackOffers(cmd, true) }

func jackInputOffers(cmd *cobra.Command, _ []string) []cobra.Completion {
	return rigJackOffers(cmd, false)
}

func rigJackOffers(cmd *cobra.Command, outputs bool) (all []cobra.Completion) {
	name := ""
	if f := cmd.Flags().Lookup("rig"); f != nil {
		name = f.Value.String()
	}
	r, err := openRig(name)
	if err != nil || r == nil {
		return nil
	}
	jacks := r.Inputs
	if outputs {
		jacks = r.Outputs
	}
	for i := range jacks {
		all = append(all, offer(jacks[i].Name, jacks[i].Role.String()))
	}
	return all
}

// deviceOffers are the ids of audio devices, as far as they answer in time.
func deviceOffers(cmd *cobra.Command, _ []string) []cobra.Completion {
	backend := ""
	if f := cmd.Flags().Lookup("backend"); f != nil {
		backend = f.Value.String()
	}
	found := make(chan []hardware.DeviceInfo, 1)
	go func() {
		list, _ := hardware.Devices()
		found <- list
	}()
	var all []cobra.Completion
	select {
	case list := <-found:
		for _, d := range list {
			if backend == "" || d.Backend == backend {
				all = append(all, offer(d.ID, d.Backend+" "+d.Name))
			}
		}
	case <-time.After(completionWait):
		all = append(all, offer("null", "keeps time, makes no sound"))
	}
	return all
}

func completedStateDir(cmd *cobra.Command) (string, error) {
	dir := ""
	if f := cmd.Flags().Lookup("state-dir"); f != nil {
		dir = f.Value.String()
	}
	return stateDirPath(dir)
}

// completedPatch is the patch that is played, if the instrument answers in time.
func completedPatch(cmd *cobra.Command) *instrument.Patch {
	dir, err := completedStateDir(cmd)
	if err != nil {
		return nil
	}
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionWait)
	defer cancel()
	var p playedPatch
	if err := fetch(ctx, socketPath(dir), "/patch", &p); err != nil {
		return nil
	}
	return p.patch()
}

// jacksOf are the jacks of all modules that are played.
func jacksOf(p *instrument.Patch, of func(*instrument.ModuleSpec) []instrument.JackSpec, each func(instrument.JackRef, *instrument.JackSpec)) {
	if p == nil {
		return
	}
	for i := range p.Modules {
		spec := p.Modules[i].Spec()
		if spec == nil {
			continue
		}
		jacks := of(spec)
		for j := range jacks {
			each(instrument.JackRef{Module: p.Modules[i].ID, Jack: jacks[j].Name}, &jacks[j])
		}
	}
}

func outputs(s *instrument.ModuleSpec) []instrument.JackSpec { return s.Outputs }
func inputs(s *instrument.ModuleSpec) []instrument.JackSpec  { return s.Inputs }

func outputOffers(cmd *cobra.Command, _ []string) (all []cobra.Completion) {
	jacksOf(completedPatch(cmd), outputs, func(r instrument.JackRef, j *instrument.JackSpec) {
		all = append(all, offer(r.String(), j.Kind.String()))
	})
	return all
}

// inputOffers are the free inputs that a cable from the output before means
// something to.
func inputOffers(cmd *cobra.Command, args []string) (all []cobra.Completion) {
	p := completedPatch(cmd)
	from, err := instrument.ParseJackRef(args[0])
	if p == nil || err != nil || p.Module(from.Module) == nil {
		return nil
	}
	taken := map[instrument.JackRef]bool{}
	for _, c := range p.Cables {
		taken[c.To] = true
	}
	jacksOf(p, inputs, func(r instrument.JackRef, j *instrument.JackSpec) {
		if taken[r] {
			return
		}
		// Of the two modules alone: the rest of the patch is valid.
		try := instrument.Patch{Modules: []instrument.Module{{ID: from.Module}}, Cables: []instrument.Cable{{From: from, To: r}}}
		if r.Module != from.Module {
			try.Modules = append(try.Modules, instrument.Module{ID: r.Module})
		}
		if try.Validate() == nil {
			all = append(all, offer(r.String(), j.Kind.String()))
		}
	})
	return all
}

// heldOffers are the inputs that hold a cable, each with where it comes from.
func heldOffers(cmd *cobra.Command, _ []string) (all []cobra.Completion) {
	p := completedPatch(cmd)
	if p == nil {
		return nil
	}
	for _, c := range p.Cables {
		all = append(all, offer(c.To.String(), "from "+c.From.String()))
	}
	return all
}

func scopeOffers(cmd *cobra.Command, _ []string) (all []cobra.Completion) {
	p := completedPatch(cmd)
	if p == nil {
		return nil
	}
	for i := range p.Modules {
		if id := p.Modules[i].ID; id.Kind() == "scope" {
			all = append(all, id.Name())
		}
	}
	return all
}

// addressOffers are the addresses of knobs and inputs that are played.
func addressOffers(cmd *cobra.Command, _ []string) (all []cobra.Completion) {
	p := completedPatch(cmd)
	if p == nil {
		return nil
	}
	for i := range p.Modules {
		spec := p.Modules[i].Spec()
		if spec == nil {
			continue
		}
		for k := range spec.Params {
			if !spec.Params[k].Text {
				all = append(all, offer(string(mapping.AddressOf(p.Modules[i].ID, spec.Params[k].Name)), spec.Params[k].Doc))
			}
		}
	}
	jacksOf(p, inputs, func(r instrument.JackRef, j *instrument.JackSpec) {
		all = append(all, offer(string(mapping.AddressOf(r.Module, r.Jack)), j.Kind.String()))
	})
	return append(all, offer("cancel", "end learning"))
}
