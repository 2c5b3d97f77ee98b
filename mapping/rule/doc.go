// Package rule plays what the cluster says: the rules of a scene turn
// transitions into notes, gates, CV and OSC messages. It stands beside the
// Board above mapping's stream: the control goroutine gives each transition to
// a Set and what comes back to the rack and the surfaces. It knows signals and
// words, no client of Kubernetes and no socket.
//
// A rule has a condition, when, and plays one or more of these things:
//
//   - note: a MIDI note number, fractions being microtones, with velocity
//     (1…127, else 100), duration (0.001…60 s, else 0.1) and channel (1…16,
//     else 1).
//   - gate: a truth. The channel's gate is high as long as any object holds
//     it; an object that is gone holds none.
//   - cv: volts, −10…10, which the channel keeps until the next.
//   - osc: a message, {address: …, args: […]}. An address that begins with a
//     slash is written as it is, any other is an expression. With to it goes to
//     one host:port, if the instrument allows that, and else to everyone who
//     listens.
//   - port: the note goes to a MIDI port in place of the rack, and with it what
//     only a port takes: cc: {number: 0…119, value: 0…127}, bend (semitones; a
//     channel has 2 each way), pressure (0…127) and program (1…128). A port is
//     a part of its name, or a pattern with * and ?, written as it is; behind a
//     = stands an expression. With mpe: true each pod has a channel of its own,
//     that of its slot, on which the note is bent to its fraction and bend
//     reaches 48 semitones. Whatever fails later, the note ends.
//
// Velocity, duration, volts and what a port gets beyond their range are held at
// its end; a note, a channel, a controller's number or a program beyond it is
// an error. What a first list or a relist brings is quiet: it plays no note, no
// message and no program; gates, CV, controllers, bend and pressure follow it.
//
// # Expressions
//
// All are written in CEL, the expression language of Kubernetes
// (https://cel.dev), and are checked when a scene is read. Words are quoted,
// what is not there is the empty word, and an int and a double do not mix:
// double(slot) * 0.5. Functions take both. Lists and maps hold plain values;
// a pattern for matches is written out; times are in UTC. No expression can
// hold up the goroutine that plays: what may cost much is counted while it
// runs and stopped after about a millisecond. Values are cut after 1024
// bytes. An error while playing, such as double("many"), is counted, told
// once for each rule, and harms nothing else.
//
// # Variables
//
//   - kind (string) kind of the object: pod, deployment, node, service, …
//   - namespace (string) namespace of the object, empty for a node
//   - name (string) name of the object
//   - uid (string) what tells the object from its successor of the same name
//   - owner (string) of a pod: its Deployment
//   - replica (string) of a pod: the hash of its pod template, which tells a
//     rollout's old pods from its new ones
//   - field (string) what changed, such as ready or phase
//   - old (string) what it was before; empty is not there
//   - new (string) what it is now; empty is not there
//   - quiet (bool) whether a first list or a relist brought it: nothing
//     happened just now
//   - revision (int) revision of the store at the change, 0 where there is none
//   - time (timestamp) when it arrived; in a script or take counted from
//     1970-01-01T00:00:00Z
//   - slot (int) of a pod, and of a service's served that of the pod which
//     answered: its place among the living pods of its owner, from 0, the
//     lowest that was free when it came; it keeps it for life, even where the
//     panels close up after a rollout, and −1 is none
//   - pods (int) living pods of the same owner, or of the Deployment itself
//   - readyPods (int) how many of those are ready
//   - replicas (int) how many pods the Deployment asks for
//   - ready (bool) whether the object is ready
//   - deleting (bool) whether the object is being deleted
//   - phase (string) of a pod: Pending, Running, Succeeded, Failed or Unknown
//   - reason (string) why the object is not well, such as CrashLoopBackOff
//   - node (string) of a pod, and of a service's served that of the pod which
//     answered: its node; of a node: its own name
//   - restarts (int) of a pod: how often its containers started again
//   - load (double) CPU in use: of a pod or node in millicores, of an hpa over
//     its target
//   - memory (double) memory in use of a pod or node, in MiB
//   - place (double) where the node stands from left to right in the order of
//     their names, −1…1
//   - count (int) how often this rule has fired before
//   - since (double) seconds since this rule last fired, at most 3600, and 3600
//     where it has not yet
//   - pitch (double) the note that this rule now plays, 60 where it plays none;
//     when and note do not have it
//
// # Functions
//
// Beside CEL's own, where a number is an int or a double, and the answer of
// all but pick and state is a double:
//
//   - scale(name, root, degree) note of a degree of a scale on a root note:
//     degree 0 is the root, degrees beyond the scale go on in the next octave,
//     negative ones below; a degree that is not whole is rounded down, so that
//     equal parts of a range give equal parts of the scale
//   - chord(name, root, index) note of a chord on a root note, in close
//     position: index 0 is the root, and beyond the chord it begins again
//     above, for chords with a ninth two octaves above
//   - quantize(note, name, root) nearest note of a scale on a root note; of two
//     as near the lower one
//   - hz(note) frequency of a note in Hz, in equal temperament from A4 = 440 Hz
//     = note 69
//   - note(hz) note of a frequency in Hz, with its fraction
//   - volts(note) pitch CV of a note in volts: 1 V an octave, 0 V is C4, note
//     60
//   - ratio(r) semitones that a ratio of frequencies spans: ratio(3.0 / 2.0) is
//     a just fifth, 7.01955
//   - linear(x, a, b, c, d) x carried from the range a to b over to the range c
//     to d, and on beyond their ends; it is an error where a and b are equal
//   - clamp(x, low, high) x, but at least low and at most high
//   - min(x, y) the smaller of two numbers
//   - max(x, y) the larger of two numbers
//   - abs(x) x without its sign
//   - floor(x) the whole number at or below x, as a double
//   - ceil(x) the whole number at or above x, as a double
//   - round(x) the nearest whole number, as a double; halves go away from 0
//   - mod(x, y) what is left of x when y is taken away as often as it goes,
//     from 0 to y for negative x as well; it is an error where y is 0
//   - pow(x, y) x to the power of y
//   - sine(turns) sine of an angle in turns, −1…1: sine(0.25) is 1
//   - hash(word) a number from 0 to 1, 1 not included, that is the same for the
//     same word on every machine
//   - number(word) the number that is written in a word; it is an error where
//     there is none
//   - number(word, default) the number that is written in a word, or the
//     default where there is none
//   - pick(list, x) one of a list: an int x counts from 0 and goes round at
//     both ends; a double x from 0 to 1 picks its part of the list, and goes no
//     further than the ends
//   - random() a number from 0 to 1, 1 not included, another at each call; the
//     seed of the scene and the rule's name decide which, so that a take sounds
//     the same again
//   - state(field) last value of any field of the object that the transition
//     speaks of, this transition included; empty where it was never told
//
// Scales: aeolian, augmented, blues, chromatic, dorian, double_harmonic,
// fifths, fourths, half_whole, harmonic_major, harmonic_minor, hirajoshi,
// hungarian_minor, in, ionian, locrian, lydian, major, major_blues,
// major_pentatonic, melodic_minor, minor, minor_pentatonic, mixolydian,
// octaves, phrygian, phrygian_major, whole_half, whole_tone.
//
// Chords: add9, augmented, augmented7, diminished, diminished7, dominant11,
// dominant13, dominant7, dominant9, half_diminished, major, major6, major7,
// major9, minor, minor6, minor7, minor9, minor_add9, minor_major7, power,
// quartal, sus2, sus4, sus4_7.
//
// # Programs
//
// A Controller's program is an expression of the same kind, without random
// and state, of
//
//   - desired (double) what should be, in volts
//   - observed (double) what is, in volts
//   - error (double) desired less observed, in volts
//   - integral (double) the error summed over time, in volt seconds
//   - act (double) what the program last came to, in volts
//   - interval (double) seconds since the last reconciliation
//   - time (double) seconds since the module began
package rule
