// What is drawn over the panels: lights, bars and screens that change many
// times a second, and the cables, which hang. Cables that move are on a canvas
// of their own, so that the others are not drawn again for them.

import { HP, Model, PANEL, ROW, type Control } from './model'

interface Light { id: string; control: Control; index: number; x: number; y: number }

// Drag is a cable that a hand holds by one end.
export interface Drag { fixed: string; out: boolean; x: number; y: number; over?: string; pulled?: string }

// Trace is what a scope saw: for each column of its picture the lowest and the
// highest volts, one after the other; null is a jack without a cable.
export interface Trace { a: number[] | null; b: number[] | null }

// Swing is how far the middle of a cable is from where it comes to rest, in
// millimetres, and how fast it goes there.
interface Swing { x: number; y: number; vx: number; vy: number; restX: number; restY: number }

// Hung is a cable as it is on the canvas, and the pixels that it is within.
interface Hung { key: string; as: string; left: number; top: number; right: number; bottom: number; draw(): void }

const calm = matchMedia('(prefers-reduced-motion: reduce)')

// Lamps are drawn 30 times a second, and with the next frame where one goes on or
// off. Where frames come late, all of that is done as many times less often as it
// takes: knobs, cables and hands are not to wait for lamps.
const often = 1000 / 30, seldom = 1000 / 8 // ms between two pictures of the lamps
// A display shows a frame every so many ms: what is slower is the page, not the
// display, and what is faster is no reason to want more.
const shortest = 1000 / 60, longest = 1000 / 30

export class Wires {
  drags = new Map<number, Drag>() // by pointer
  hovered?: string // module whose cables are drawn before the others
  frames = 0
  traces = new Map<string, Trace>()
  every = often // ms from one picture of the lamps to the next
  private lights: Light[] = []
  private bars: Light[] = []
  private jacks: { ref: string; out: boolean; x: number; y: number; w: number }[] = []
  private screens: { panel: string; control: Control; x: number; y: number }[] = []
  private swings = new Map<string, Swing>() // by cable
  private known = new Set<string>()
  private hung = new Map<string, Hung>()
  private view = '' // of what is hung
  private flashes: number[] = [] // outputs that are high for a moment only
  private glow = new Map<string, ImageBitmap | HTMLCanvasElement>() // lit lamps, by size and colour
  private heard?: Float32Array<ArrayBuffer> // volts that no picture shows yet
  private shone = 0 // when lamps were drawn last, on the page's clock
  private timer = 0 // until they are drawn again
  private wait = 8 // ms that a frame comes after it was asked for, of late
  private steps: number[] = [] // ms between two frames of the display, of late
  private measuring = false
  private dirty = true
  private lit = true
  private queued = false
  private handed = false // something is on the canvas of what moves
  private last = 0
  private hold = [0, 0, 0, 0] // levels of the header, and how long they are held

  constructor(private model: Model, private scroll: HTMLElement, private lightCanvas: HTMLCanvasElement, private cableCanvas: HTMLCanvasElement, private handCanvas: HTMLCanvasElement, private levelCanvas: HTMLCanvasElement, private unit: () => number) {
    new ResizeObserver(() => this.size()).observe(scroll)
    scroll.addEventListener('scroll', () => this.redraw(), { passive: true })
    this.size()
  }

  private size() {
    const r = Math.min(devicePixelRatio || 1, 2), { clientWidth: w, clientHeight: h } = this.scroll
    this.view = '' // a canvas of another size is empty
    for (const c of [this.lightCanvas, this.cableCanvas, this.handCanvas]) {
      c.width = Math.round(w * r)
      c.height = Math.round(h * r)
      Object.assign(c.style, { width: `${w}px`, height: `${h}px` })
    }
    this.redraw()
  }

  // rewire takes over that the rack looks other than before.
  rewire() {
    this.lights = []; this.bars = []; this.screens = []; this.jacks = []; this.flashes = []
    this.heard = undefined // its outputs may be others
    for (const m of this.model.modules.values()) {
      for (const c of this.model.plate(m.id).controls) {
        const x = m.hp * HP + c.x, y = m.row * ROW + c.y, index = this.model.output.get(`/${m.id}/${c.name}`) ?? -1
        if (c.part === 'led') {
          this.lights.push({ id: m.id, control: c, index, x, y })
          if (c.signal === 'trigger' && index >= 0) this.flashes.push(index)
        }
        else if (c.part === 'bargraph') this.bars.push({ id: m.id, control: c, index, x, y })
        else if (c.part === 'input' || c.part === 'output') this.jacks.push({ ref: `${m.id}/${c.name}`, out: c.part === 'output', x, y, w: c.w })
        else if (c.part === 'screen') this.screens.push({ panel: m.id, control: c, x, y })
      }
    }
    // What is new falls into its place.
    const now = new Set(this.model.cables.map(c => c.from + '>' + c.to))
    const fresh = [...now].filter(k => !this.known.has(k))
    if (this.known.size && fresh.length < 9) for (const k of fresh) this.shake(k, 0, -8)
    this.known = now
    for (const k of this.swings.keys()) if (!now.has(k) && !/^\d/.test(k)) this.swings.delete(k)
    this.redraw()
  }

  // near is the jack at a place of the window, or within reach of it in pixels.
  near(x: number, y: number, out: boolean, reach: number): string | undefined {
    const box = this.scroll.getBoundingClientRect(), u = this.unit()
    if (x < box.left || y < box.top || x > box.right || y > box.bottom) return
    const mx = (x - box.left + this.scroll.scrollLeft) / u, my = (y - box.top + this.scroll.scrollTop) / u
    let best: string | undefined, least = Infinity
    for (const j of this.jacks) {
      if (j.out !== out) continue
      const d = Math.hypot(j.x - mx, j.y - my) - j.w / 2
      if (d < least && d * u <= reach) { least = d; best = j.ref }
    }
    return best
  }

  private shake(key: string, x: number, y: number) {
    if (!calm.matches) this.swings.set(key, { x, y, vx: 0, vy: 0, restX: NaN, restY: NaN })
  }

  redraw() { this.dirty = true; this.blink() }
  blink(due?: number) {
    this.lit = true
    this.queue(due)
  }
  private queue(asked = performance.now()) {
    if (this.queued) return
    this.queued = true
    requestAnimationFrame(t => {
      this.queued = false
      this.pace(performance.now() - asked)
      this.measure()
      this.draw(t)
    })
  }

  // hear takes what the outputs have now. It is on the screen with the next
  // picture of the lamps, which comes sooner where a lamp goes on or off.
  hear(peaks: Float32Array<ArrayBuffer>, volts: Float32Array<ArrayBuffer>) {
    const m = this.model, before = this.heard
    if (volts.length !== m.volts.length) return // of another rack
    if (before) {
      for (const i of this.flashes) volts[i] = Math.max(volts[i], before[i])
      for (const i of peaks.keys()) peaks[i] = Math.max(peaks[i], m.peaks[i])
    }
    m.peaks = peaks
    this.heard = volts
    const turned = this.lights.some(l => l.index >= 0 && l.control.signal !== 'audio' && Math.abs(Math.abs(volts[l.index]) - Math.abs(m.volts[l.index])) > 2.5)
    // It is asked for half a frame before it is due, to get the frame that is then.
    const now = performance.now(), due = this.shone + (turned ? this.every / 4 : this.every) - 8
    clearTimeout(this.timer)
    if (due <= now) this.blink()
    else this.timer = window.setTimeout(() => this.blink(due), due - now)
  }

  // pace takes over how long the browser took, in ms, until it had a frame for
  // what was to be drawn: half a frame's time as a rule, a whole one while
  // something moves. Whoever shares the processors with this page may leave it
  // fewer frames than its display shows.
  private pace(waited: number) {
    // A page that is kept busy asks late: that shows in how old the last picture is.
    const late = this.heard ? performance.now() - this.shone - this.every - 15 : 0
    this.wait += (Math.min(Math.max(waited, late), 100) - this.wait) / 12
    const frame = Math.max(this.steps.slice().sort((a, b) => a - b)[this.steps.length >> 2] ?? 0, shortest)
    if (this.wait > frame * 1.45) this.every = Math.min(this.every * 1.1, seldom)
    else if (this.wait < frame * 1.05) this.every = Math.max(this.every * 0.96, often)
  }

  // measure takes, where lamps have given way, how long a frame of the display is,
  // from two in which they do not draw: to save power a display may show but 30 a
  // second, and no waiting gets more of them.
  private measure() {
    if (this.every <= often || this.measuring) return
    this.measuring = true
    requestAnimationFrame(a => requestAnimationFrame(b => {
      this.measuring = false
      if (b - a < longest * 1.1) this.steps = [...this.steps.slice(-15), b - a]
    }))
  }

  // lamp is one that shines, some pixels wide.
  private lamp(size: number, colour: string): ImageBitmap | HTMLCanvasElement {
    const key = size + colour
    let s = this.glow.get(key)
    if (!s) {
      if (this.glow.size > 40) this.glow.clear() // of sizes that the rack had once
      // A canvas would be copied for every lamp that is drawn from it: it is for
      // browsers that have no other, as Safari before 16.4.
      const off = typeof OffscreenCanvas === 'undefined' ? undefined : new OffscreenCanvas(size, size), c = off ?? document.createElement('canvas')
      c.width = c.height = size
      const g = c.getContext('2d') as CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D, r = size / 2, f = g.createRadialGradient(r, r, 0, r, r, r)
      f.addColorStop(0, '#fff'); f.addColorStop(0.16, colour); f.addColorStop(0.32, colour + 'cc'); f.addColorStop(0.36, colour + '40'); f.addColorStop(1, colour + '00')
      g.fillStyle = f
      g.fillRect(0, 0, size, size)
      this.glow.set(key, s = off ? off.transferToImageBitmap() : c as HTMLCanvasElement)
    }
    return s
  }

  private draw(now: number) {
    this.frames++
    const since = (now - this.last) / 1000, dt = Math.min(since, 0.05)
    this.last = now
    const r = this.lightCanvas.width / Math.max(this.scroll.clientWidth, 1), u = this.unit() * r
    const ox = this.scroll.scrollLeft * r, oy = this.scroll.scrollTop * r, W = this.lightCanvas.width, H = this.lightCanvas.height
    const lamps = this.lit || this.dirty
    if (lamps) {
      this.lit = false
      this.shone = performance.now()
      clearTimeout(this.timer)
      if (this.heard) { this.model.volts = this.heard; this.heard = undefined }
      this.levels(Math.min(since, 0.2))
    }
    if (this.dirty) {
      this.dirty = false
      this.hang(u, ox, oy, W, H)
    }
    if (this.drags.size || this.swings.size || this.handed) this.move(u, ox, oy, W, H, r, dt)
    if (lamps) this.shine(u, ox, oy, W, H) // last: a lamp that fails stops nothing else
  }

  // hang draws the cables that are at rest. Where only some are others than
  // before, only what is under those is drawn anew.
  private hang(u: number, ox: number, oy: number, W: number, H: number) {
    const g = this.cableCanvas.getContext('2d')!, pulled = new Set([...this.drags.values()].map(d => d.pulled)), before = this.hung, view = [u, ox, oy, W, H].join()
    const all: Hung[] = [], first: Hung[] = []
    for (const c of this.model.cables) {
      const key = c.from + '>' + c.to
      if (pulled.has(c.to) || this.swings.has(key)) continue
      const a = this.model.at(c.from), b = this.model.at(c.to)
      if (!a || !b) continue
      const near = this.hovered !== undefined && (c.from.startsWith(this.hovered + '/') || c.to.startsWith(this.hovered + '/'))
      const [x1, y1, x2, y2] = [a[0] * u - ox, a[1] * u - oy, b[0] * u - ox, b[1] * u - oy], colour = this.colour(c.from), kind = c.sensed ? 'sensed' : c.cluster ? 'cluster' : '', alpha = this.hovered && !near ? 0.25 : 0.9
      const around = 3 * u + 2, left = Math.floor(Math.min(x1, x2) - around), top = Math.floor(Math.min(y1, y2) - around)
      const h: Hung = { key, as: [x1, y1, x2, y2, colour, kind, alpha].join(), left, top, right: Math.ceil(Math.max(x1, x2) + around), bottom: Math.ceil(Math.max(y1, y2, (y1 + y2) / 2 + sag(x1, y1, x2, y2, u)) + around),
        draw: () => this.cable(g, x1, y1, x2, y2, colour, u, kind, alpha, W, H) }
      ;(near ? first : all).push(h)
    }
    all.push(...first)
    this.hung = new Map(all.map(h => [h.key, h]))
    g.lineCap = 'round'
    const other = [...all.filter(h => before.get(h.key)?.as !== h.as), ...[...before.values()].filter(h => this.hung.get(h.key)?.as !== h.as)]
    if (view !== this.view || other.length > 20) {
      this.view = view
      g.clearRect(0, 0, W, H)
      for (const h of all) h.draw()
    } else if (other.length) {
      g.save()
      g.beginPath()
      for (const o of other) g.rect(o.left, o.top, o.right - o.left, o.bottom - o.top)
      g.clip()
      for (const o of other) g.clearRect(o.left, o.top, o.right - o.left, o.bottom - o.top)
      for (const h of all) if (other.some(o => h.left < o.right && o.left < h.right && h.top < o.bottom && o.top < h.bottom)) h.draw()
      g.restore()
    }
  }

  private colour(jack: string) { return this.model.specs.signals[this.model.control(jack)?.control.signal ?? ''] ?? '#5b93ff' }

  // move draws the cables that a hand holds, and those that still swing.
  private move(u: number, ox: number, oy: number, W: number, H: number, r: number, dt: number) {
    const g = this.handCanvas.getContext('2d')!
    this.handCanvas.hidden = false
    g.clearRect(0, 0, W, H)
    g.lineCap = 'round'
    this.handed = false
    let rest = false
    const box = this.scroll.getBoundingClientRect()
    const swing = (key: string, x1: number, y1: number, x2: number, y2: number): [number, number] => {
      const s = this.swings.get(key)
      if (!s) return [0, 0]
      // The middle lags behind its ends as a weight on a spring would.
      const mx = (x1 + x2) / 2 / u, my = (y1 + y2) / 2 / u + sag(x1, y1, x2, y2, u) / u
      if (!Number.isNaN(s.restX)) { s.x = Math.min(Math.max(s.x - (mx - s.restX), -60), 60); s.y = Math.min(Math.max(s.y - (my - s.restY), -60), 60) }
      s.restX = mx; s.restY = my
      for (let i = 0; i < 4; i++) {
        const h = dt / 4
        s.vx += (-170 * s.x - 11 * s.vx) * h; s.vy += (-170 * s.y - 11 * s.vy) * h
        s.x += s.vx * h; s.y += s.vy * h
      }
      return [s.x * u, s.y * u]
    }
    // Where it would fit is ringed here: panels are too dear to paint anew.
    for (const out of [true, false]) {
      if (![...this.drags.values()].some(d => d.out !== out)) continue
      g.strokeStyle = '#ffffffd0'; g.lineWidth = 0.55 * u
      g.beginPath()
      for (const j of this.jacks) {
        const x = j.x * u - ox, y = j.y * u - oy, rad = (j.w / 2 + 0.2) * u
        if (j.out !== out || x < -rad || y < -rad || x > W + rad || y > H + rad) continue
        g.moveTo(x + rad, y); g.arc(x, y, rad, 0, 7)
      }
      g.stroke()
    }
    for (const [id, d] of this.drags) {
      const a = this.model.at(d.fixed), b = d.over && this.model.at(d.over)
      if (!a) continue
      const key = String(id)
      if (!this.swings.has(key)) this.shake(key, 0, 0)
      const x1 = a[0] * u - ox, y1 = a[1] * u - oy, [x2, y2] = b ? [b[0] * u - ox, b[1] * u - oy] : [(d.x - box.left) * r, (d.y - box.top) * r]
      const [sx, sy] = swing(key, x1, y1, x2, y2)
      this.cable(g, x1, y1, x2, y2, this.colour(d.fixed), u, '', 1, W, H, sx, sy)
      this.handed = true
    }
    for (const [key, s] of this.swings) {
      if (/^\d/.test(key)) { if (!this.drags.has(Number(key))) this.swings.delete(key); continue }
      const i = key.indexOf('>'), a = this.model.at(key.slice(0, i)), b = this.model.at(key.slice(i + 1)), c = this.model.cables.find(c => c.from + '>' + c.to === key)
      if (!a || !b || !c) { this.swings.delete(key); rest = true; continue }
      const x1 = a[0] * u - ox, y1 = a[1] * u - oy, x2 = b[0] * u - ox, y2 = b[1] * u - oy, [sx, sy] = swing(key, x1, y1, x2, y2)
      if (Math.hypot(s.x, s.y) < 0.15 && Math.hypot(s.vx, s.vy) < 1) { this.swings.delete(key); rest = true; continue }
      this.cable(g, x1, y1, x2, y2, this.colour(c.from), u, c.sensed ? 'sensed' : c.cluster ? 'cluster' : '', 0.9, W, H, sx, sy)
      this.handed = true
    }
    if (rest) this.dirty = true // they hang with the others from now on
    if (!this.handed && !rest) this.handCanvas.hidden = true
    if (this.handed || rest) this.queue()
  }

  private shine(u: number, ox: number, oy: number, W: number, H: number) {
    const g = this.lightCanvas.getContext('2d')!, volts = this.model.volts
    g.clearRect(0, 0, W, H)
    for (const l of this.lights) {
      const [mx, my] = this.model.away(l.id), x = (l.x + mx) * u - ox, y = (l.y + my) * u - oy
      if (l.index < 0 || x < -20 || y < -20 || x > W + 20 || y > H + 20) continue
      const v = volts[l.index], a = Math.min(Math.abs(v) / (l.control.signal === 'audio' ? 2.5 : 5), 1)
      if (a < 0.04) continue
      g.globalAlpha = Math.min(0.25 + a, 1)
      // Pixel on pixel: scaling would be most of the work.
      const size = Math.max(Math.round(l.control.w * 3.1 * u), 3)
      g.drawImage(this.lamp(size, v < 0 ? '#ff5a4e' : '#7dff9a'), Math.round(x - size / 2), Math.round(y - size / 2))
    }
    g.globalAlpha = 1
    for (const b of this.bars) {
      const [mx, my] = this.model.away(b.id), x = (b.x + mx - b.control.w / 2) * u - ox, y = (b.y + my - b.control.h / 2) * u - oy, w = b.control.w * u, h = b.control.h * u
      if (b.index < 0 || x < -w || y < -h || x > W || y > H) continue
      const share = Math.min(Math.max(volts[b.index] / 10, 0), 1), n = 10, tall = h > w
      for (let i = 0; i < Math.round(share * n); i++) {
        g.fillStyle = i > 8 ? '#ff5a4e' : i > 6 ? '#f5b945' : '#7dff9a'
        if (tall) g.fillRect(x + w * 0.15, y + h - (i + 0.85) * h / n, w * 0.7, h / n * 0.7)
        else g.fillRect(x + (i + 0.15) * w / n, y + h * 0.15, w / n * 0.7, h * 0.7)
      }
    }
    for (const s of this.screens) this.screen(g, s, u, ox, oy, W, H)
    this.ghosts(g, u, ox, oy)
  }

  // levels draws how loud the first two outputs are, −48 … +3 dB of full scale.
  private levels(dt: number) {
    const c = this.levelCanvas, r = Math.min(devicePixelRatio || 1, 2)
    if (!c.clientWidth) return
    const w = Math.round(c.clientWidth * r), h = Math.round(c.clientHeight * r)
    if (c.width !== w || c.height !== h) { c.width = w; c.height = h }
    const g = c.getContext('2d')!, at = (db: number) => Math.min(Math.max((db + 48) / 51, 0), 1) * w
    g.clearRect(0, 0, w, h)
    for (let i = 0; i < 2; i++) {
      const db = 20 * Math.log10(Math.max(this.model.peaks[i] / 5, 1e-6)), y = i * h / 2 + 1, bar = h / 2 - 2
      this.hold[i] = Math.max(db, this.hold[i] - 24 * dt)
      g.fillStyle = '#2b313c'; g.fillRect(0, y, w, bar)
      for (const [from, to, colour] of [[-48, -12, '#7dff9a'], [-12, -1, '#f5b945'], [-1, 3, '#ff5a4e']] as const) {
        const a = at(from), b = at(Math.min(to, this.hold[i]))
        g.fillStyle = colour
        if (b > a) g.fillRect(a, y, b - a, bar)
      }
    }
  }

  // cable hangs between two points; the longer it is the tighter it gets.
  private cable(g: CanvasRenderingContext2D, x1: number, y1: number, x2: number, y2: number, colour: string, u: number, kind: string, alpha: number, W: number, H: number, sx = 0, sy = 0) {
    const mx = (x1 + x2) / 2 + sx, my = (y1 + y2) / 2 + sag(x1, y1, x2, y2, u) + sy
    if (Math.max(x1, x2, mx) < 0 || Math.min(x1, x2, mx) > W || Math.max(y1, y2, my) < 0 || Math.min(y1, y2) > H) return
    g.globalAlpha = alpha
    const path = () => { g.beginPath(); g.moveTo(x1, y1); g.quadraticCurveTo(mx, my, x2, y2) }
    const w = kind === 'cluster' ? 1.5 * u : 1.05 * u
    g.setLineDash([])
    g.strokeStyle = '#0008'; g.lineWidth = w + 0.7 * u; path(); g.stroke()
    g.strokeStyle = colour; g.lineWidth = w
    if (kind === 'sensed') g.setLineDash([3 * u, 1.6 * u])
    path(); g.stroke()
    g.setLineDash([])
    if (kind === 'cluster') { g.strokeStyle = '#fff7'; g.lineWidth = 0.35 * u; path(); g.stroke() }
    for (const [x, y] of [[x1, y1], [x2, y2]]) {
      g.fillStyle = '#0b0d11'; g.beginPath(); g.arc(x, y, 2.5 * u, 0, 7); g.fill()
      g.fillStyle = colour; g.beginPath(); g.arc(x, y, 1.7 * u, 0, 7); g.fill()
    }
    g.globalAlpha = 1
  }

  private screen(g: CanvasRenderingContext2D, s: { panel: string; control: Control; x: number; y: number }, u: number, ox: number, oy: number, W: number, H: number) {
    const [mx, my] = this.model.away(s.panel), w = s.control.w * u, h = s.control.h * u, x = (s.x + mx) * u - ox - w / 2, y = (s.y + my) * u - oy - h / 2
    if (x < -w || y < -h || x > W || y > H) return
    const t = this.traces.get(s.panel), thick = Math.max(0.15 * u, 0.5)
    for (const [v, colour] of [[t?.a, '#7dff9a'], [t?.b, '#5b93ff']] as const) {
      const n = (v?.length ?? 0) / 2
      if (!v || n < 2) continue
      // One shape around all that it went through, from column to column: a line
      // to and fro takes many times as long to draw.
      const at = (volts: number) => y + Math.min(Math.max(0.5 - volts / 12, 0), 1) * h
      g.fillStyle = colour
      g.beginPath()
      for (let i = 0; i < n; i++) g.lineTo(x + i / (n - 1) * w, at(Math.max(v[2 * i + 1], i ? v[2 * i - 2] : -Infinity)) - thick)
      for (let i = n - 1; i >= 0; i--) g.lineTo(x + i / (n - 1) * w, at(Math.min(v[2 * i], i ? v[2 * i - 1] : Infinity)) + thick)
      g.fill()
    }
  }

  // ghosts show where controllers stand that do not hold their knob.
  private ghosts(g: CanvasRenderingContext2D, u: number, ox: number, oy: number) {
    for (const t of this.model.status?.takeovers ?? []) {
      const i = t.address.lastIndexOf('/'), m = this.model.modules.get(t.address.slice(1, i)), c = m && this.model.plate(m.id).controls.find(c => c.name === t.address.slice(i + 1))
      if (!m || !c) continue
      const [mx, my] = this.model.away(m.id), x = (m.hp * HP + c.x + mx) * u - ox, y = (m.row * ROW + c.y + my) * u - oy, a = (280 * t.have - 140 - 90) * Math.PI / 180, r = (c.w / 2 + 0.9) * u
      g.strokeStyle = '#ffdf6b'; g.lineWidth = 0.7 * u
      g.beginPath(); g.moveTo(x + Math.cos(a) * r * 0.8, y + Math.sin(a) * r * 0.8); g.lineTo(x + Math.cos(a) * r * 1.2, y + Math.sin(a) * r * 1.2); g.stroke()
    }
  }

  // seen tells which screens are in sight, and how many pixels wide they are.
  seen(): { name: string; points: number }[] {
    const u = this.unit(), r = Math.min(devicePixelRatio || 1, 2), { scrollLeft: sx, scrollTop: sy, clientWidth: w, clientHeight: h } = this.scroll
    return this.screens.filter(s => s.x * u > sx - 200 && s.x * u < sx + w + 200 && s.y * u > sy - 200 && s.y * u < sy + h + 200).map(s => ({ name: s.panel, points: Math.ceil(s.control.w * u * r) }))
  }
}

function sag(x1: number, y1: number, x2: number, y2: number, u: number) { return 18 * u + Math.hypot(x2 - x1, y2 - y1) * 0.22 }

export function size(model: Model): [number, number] {
  let w = 84, h = 1
  for (const m of model.modules.values()) { w = Math.max(w, m.hp + model.plate(m.id).hp); h = Math.max(h, m.row + 1) }
  return [w * HP, (h - 1) * ROW + PANEL]
}
