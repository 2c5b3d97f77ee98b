// The audio thread of the browser. It plays what came at its own pace: clocks
// of two machines never agree, and a network brings pieces early and late. How
// little is ever left in hand over two seconds is held at a margin by reading a
// hair faster or slower, between the samples, with the exactness of a
// sixteen-point sinc; a margin that was too small grows, and what waits far
// longer than it need is left out.

declare const sampleRate: number
declare const currentTime: number
declare const AudioWorkletProcessor: any
declare function registerProcessor(name: string, c: any): void

const SIZE = 65536, TAPS = 16, HALF = TAPS / 2, PHASES = 512, FADE = 256, BEND = 128
const MOST = 0.002 // of the speed: three cents

// kernel is a sinc in a Kaiser window, for every phase between two samples.
const kernel = (() => {
  const k = new Float32Array((PHASES + 1) * TAPS), beta = 8
  const bessel = (x: number) => { let s = 1, t = 1; for (let i = 1; i < 30; i++) { t *= (x / 2 / i) ** 2; s += t } return s }
  for (let p = 0; p <= PHASES; p++) {
    let sum = 0
    for (let t = 0; t < TAPS; t++) {
      const x = t - HALF + 1 - p / PHASES, w = Math.abs(x) >= HALF ? 0 : bessel(beta * Math.sqrt(1 - (x / HALF) ** 2)) / bessel(beta)
      sum += k[p * TAPS + t] = (Math.abs(x) < 1e-9 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x)) * w
    }
    for (let t = 0; t < TAPS; t++) k[p * TAPS + t] /= sum
  }
  return k
})()

class Player extends AudioWorkletProcessor {
  private left = new Float32Array(SIZE)
  private right = new Float32Array(SIZE)
  private write = 0 // frames that came
  private read = 0 // frames that were played, with a fraction
  private frame = NaN // the instrument's, of what is written next
  private base: number // frames of the instrument for one of ours
  private speed = 1 // of it
  private playing = false
  private gain = 0
  private margin = 0.03 // seconds that are left in hand at the worst moment
  private least = Infinity // frames, of this second
  private before = Infinity // and of the one before
  private since = 0
  private told = 0
  private gaps = 0
  private lost = 0
  private skipped = 0
  private ghost = -1 // where it was read before a skip, while that fades
  private fade = 0
  private a = 0
  private b = 0

  constructor(options: any) {
    super()
    this.base = (options?.processorOptions?.rate ?? sampleRate) / sampleRate
    this.port.onmessage = (e: MessageEvent<{ way: MessagePort }>) => {
      e.data.way.onmessage = (e: MessageEvent<{ frame: number; pcm: Int16Array }>) => this.take(e.data.frame, e.data.pcm)
    }
  }

  take(frame: number, pcm: Int16Array) {
    const n = pcm.length >> 1
    let stepL = 0, stepR = 0, bent = 0
    const missing = frame - this.frame
    if (missing > 0) this.lost += missing
    if (missing > 0 && missing < 0.1 * sampleRate && this.write > missing + 2 * BEND) bent = this.bridge(missing)
    else if (missing !== 0 && this.write > 0) {
      // What follows begins where the last one ended.
      const i = (this.write - 1) & (SIZE - 1)
      stepL = this.left[i] - pcm[0] / 32767
      stepR = this.right[i] - pcm[1] / 32767
    }
    for (let i = 0; i < n; i++) {
      const at = (this.write + i) & (SIZE - 1)
      this.left[at] = pcm[2 * i] / 32767 + stepL
      this.right[at] = pcm[2 * i + 1] / 32767 + stepR
      stepL *= 0.98; stepR *= 0.98
      if (i < BEND && bent) {
        const s = i / BEND, b = (at - bent) & (SIZE - 1)
        this.left[at] = s * this.left[at] + (1 - s) * this.left[b]
        this.right[at] = s * this.right[at] + (1 - s) * this.right[b]
      }
    }
    this.write += n
    this.frame = frame + n
    if (this.write - this.read > SIZE / 2) { this.read = this.write - 2048; this.ghost = -1 } // it was asleep
  }

  // bridge puts what was just heard in the place of frames that are missing,
  // and returns from how far back.
  private bridge(n: number) {
    const back = n + BEND
    for (const ch of [this.left, this.right]) {
      for (let i = 0; i < BEND; i++) {
        const k = this.write - BEND + i, s = i / BEND
        ch[k & (SIZE - 1)] = (1 - s) * ch[k & (SIZE - 1)] + s * ch[(k - back) & (SIZE - 1)]
      }
      for (let i = 0; i < n; i++) ch[(this.write + i) & (SIZE - 1)] = ch[(this.write + i - back) & (SIZE - 1)]
    }
    this.write += n
    return back
  }

  // skip leaves out what is too late to be heard: one place fades into the
  // other.
  private skip(frames: number) {
    this.ghost = this.read
    this.fade = 0
    this.read += Math.floor(frames)
    this.skipped += Math.floor(frames)
    this.least = this.before = Infinity
    this.since = 0
  }

  // at is the sound at a place between two samples.
  private at(read: number) {
    const { left, right } = this, whole = Math.floor(read), f = (read - whole) * PHASES, p = Math.floor(f), q = f - p
    let a = 0, b = 0
    if (f === 0) { a = left[whole & (SIZE - 1)]; b = right[whole & (SIZE - 1)] } else {
      for (let t = 0, k = p * TAPS, i = whole - HALF + 1; t < TAPS; t++, k++, i++) {
        const c = kernel[k] + q * (kernel[k + TAPS] - kernel[k])
        a += c * left[i & (SIZE - 1)]
        b += c * right[i & (SIZE - 1)]
      }
    }
    this.a = a; this.b = b
  }

  process(_: unknown, outputs: Float32Array[][]) {
    const [l, r] = outputs[0], n = l.length, rate = sampleRate * this.base
    const need = n * this.base * (1 + MOST) + FADE + HALF + 1
    const waits = this.write - this.read
    if (!this.playing) {
      const begin = need + (this.margin + 0.015) * rate
      if (this.gain === 0 && waits >= begin) {
        // What came too late is not made up for: it would be late for ever.
        if (waits > begin + 0.01 * rate) { this.skipped += Math.floor(waits - begin); this.read += Math.floor(waits - begin) }
        this.playing = true
        this.ghost = -1
        this.least = this.before = Infinity
        this.since = 0
      }
    } else if (waits < need) {
      // It fades on what there is, and waits for a little more next time.
      this.playing = false
      this.gaps++
      this.margin = Math.min(this.margin * 1.5, 0.045)
    }
    const dir = (this.playing ? 1 : -1) / (FADE - 16), step = this.base * this.speed
    for (let i = 0; i < n; i++) {
      if (this.playing ? this.gain < 1 : this.gain > 0) this.gain = Math.min(Math.max(this.gain + dir, 0), 1)
      if (this.gain === 0 && !this.playing) { l[i] = r[i] = 0; continue }
      this.at(this.read)
      let { a, b } = this
      if (this.ghost >= 0) {
        const s = this.fade++ / FADE
        this.at(this.ghost)
        a = s * a + (1 - s) * this.a
        b = s * b + (1 - s) * this.b
        this.ghost = this.fade < FADE ? this.ghost + step : -1
      }
      l[i] = a * this.gain
      r[i] = b * this.gain
      this.read += step
    }
    if (this.playing) {
      this.least = Math.min(this.least, this.write - this.read)
      // The speed follows slowly, so that no pitch is heard to bend.
      const spare = (Math.min(this.least, this.before) - need) / rate - this.margin
      const want = Number.isFinite(spare) && this.before < Infinity ? 1 + Math.min(Math.max(Math.abs(spare) < 0.002 ? 0 : spare * 0.1, -MOST), MOST) : 1
      this.speed += (want - this.speed) * 0.002
      if (Number.isFinite(spare) && spare > 0.025 && this.before < Infinity && this.ghost < 0) this.skip((spare - 0.004) * rate)
      else if ((this.since += n) >= sampleRate / 2) {
        this.since = 0
        this.before = this.least
        this.least = Infinity
        this.margin = Math.max(this.margin * 0.995, 0.008)
      }
    }
    if ((this.told += n) >= sampleRate / 8) {
      this.told = 0
      this.port.postMessage({ waits: (this.write - this.read) / rate, gaps: this.gaps, lost: this.lost, skipped: this.skipped, speed: this.speed, frame: this.frame - (this.write - this.read), at: currentTime + n / sampleRate })
    }
    return true
  }
}

registerProcessor('k8s-synth', Player)
