// Package vcv reads and writes the files of VCV Rack, so that a patch moves
// between that rack and this one. It stands beside the signal path: it turns
// files into patches and back, and plays nothing.
//
// Read takes a .vcv of Rack 2 (a tar, compressed with zstd, of patch.json and
// a folder for each module that has one) or of an older Rack (patch.json
// alone), and writes the former. File.Import makes a Patch of it: modules of
// our own plugin, whose model is their kind and whose params and ports are
// numbered as ModuleSpec declares them; and well-known modules of Core and
// Fundamental whose meaning is clear. What has no counterpart is in Extra,
// which belongs beside the scene: Export puts it back, so that a file that
// went through a scene comes out as it was, but for what was changed. Both
// report what they could not carry over.
//
// A file is a stranger's: names in it never become paths, and its size, when
// unpacked, has a limit.
//
// Plugin makes what a plugin of these modules begins with: its manifest, the
// panels, and the numbers of its params and ports.
package vcv

// Numbers and names of the plugin that our modules have in Rack.
const (
	// PluginSlug is the plugin of our modules; the model is the module's kind.
	PluginSlug = "K8sSynth"
	// PluginVersion begins with the major version of Rack, as Rack asks.
	PluginVersion = "2.0.0"
	// RackVersion is the version that a new file says it was written by.
	RackVersion = "2.6.4"
)

// Limits of what is read. Patches of hundreds of modules are a hundredth of
// them.
const (
	// MaxFile is the longest file that is read, in bytes.
	MaxFile = 64 << 20
	// MaxUnpacked is how long all that is in it may be.
	MaxUnpacked = 256 << 20
	// MaxPatch is the longest patch.json.
	MaxPatch = 32 << 20
	// MaxEntries is how many files and folders it may have.
	MaxEntries = 20000
	// MaxModules and MaxCables are of one patch.
	MaxModules = 4096
	MaxCables  = 16384
)
