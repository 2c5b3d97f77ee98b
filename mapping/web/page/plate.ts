// Modules as they stand in the rack: faceplates, and what hands do to their
// knobs, switches and displays.

import { HP, Model, PANEL, ROW, clamp, travel, value, words, type Control, type Plate } from './model'
import type { Link, Module } from './link'
import { wheelUp } from './el'

const plates = new Map<string, Promise<SVGSVGElement>>()

// plateOf fetches the drawing of a kind of module, once.
function plateOf(kind: string): Promise<SVGSVGElement> {
  let p = plates.get(kind)
  if (!p) {
    p = fetch(`panel/${encodeURIComponent(kind)}.svg`).then(async r => {
      if (!r.ok) throw new Error(`panel of ${kind}: ${r.status}`)
      const svg = new DOMParser().parseFromString(await r.text(), 'image/svg+xml').documentElement as unknown as SVGSVGElement
      if (svg.localName !== 'svg') throw new Error(`panel of ${kind}: it is no drawing`)
      // Ids would be double where a kind stands twice.
      for (const e of svg.querySelectorAll('[id]')) e.removeAttribute('id')
      for (const a of ['id', 'width', 'height']) svg.removeAttribute(a)
      for (const g of svg.querySelectorAll<SVGGElement>('.control')) flatten(g)
      return document.adoptNode(svg)
    })
    p.catch(() => plates.delete(kind))
    plates.set(kind, p)
  }
  return p
}

// flatten moves what is in a control to where the control is, so that nothing of
// it has coordinates of its own. A browser puts what is painted in different
// coordinates together piece by piece, again with every change of them, and a
// rack has thousands of controls: that takes as long as a frame.
function flatten(g: SVGGElement) {
  const place = (e: Element) => /^translate\((\S+) (\S+)\)/.exec(e.getAttribute('transform') ?? '')?.slice(1).map(Number) ?? [0, 0]
  const shift = (e: Element, x: number, y: number) => {
    for (const [a, by] of [['x', x], ['cx', x], ['y', y], ['cy', y]] as const) if (e.hasAttribute(a) || a === `c${a[1]}` && e.localName === 'circle') e.setAttribute(a, String(+(Number(e.getAttribute(a)) + by).toFixed(3)))
    const d = e.getAttribute('d')
    let n = 0 // pairs of absolute coordinates are all that it has
    if (d) e.setAttribute('d', d.replace(/-?[\d.]+/g, v => String(+(Number(v) + (n++ % 2 ? y : x)).toFixed(3))))
    for (const c of e.children) shift(c, x, y)
  }
  const [x, y] = place(g)
  g.removeAttribute('transform')
  const turn = g.querySelector<SVGGElement>('.turn')
  if (turn) {
    // A pointer is a line from one distance of the middle to another, and turns
    // by other ends.
    const [tx, ty] = place(turn), line = turn.firstElementChild!, [, from, , to] = line.getAttribute('d')!.match(/-?[\d.]+/g)!
    Object.assign(turn.dataset, { x: String(x + tx), y: String(y + ty), from, to })
    turn.remove()
    shift(g, x, y)
    turn.removeAttribute('transform')
    g.append(turn)
  } else shift(g, x, y)
}

// point turns a pointer to an angle, in degrees from straight up.
function point(turn: SVGGElement, angle: number) {
  const { x, y, from, to } = turn.dataset, s = Math.sin(angle * Math.PI / 180), c = Math.cos(angle * Math.PI / 180)
  const at = (r: string) => `${(Number(x) - s * Number(r)).toFixed(3)} ${(Number(y) + c * Number(r)).toFixed(3)}`
  turn.firstElementChild!.setAttribute('d', `M${at(from!)}L${at(to!)}`)
}

export interface Desk {
  model: Model
  link: Link
  unit(): number // pixels a millimetre
  select(id: string): void
  jack(e: PointerEvent | KeyboardEvent, jack: string, out: boolean): void
  tip(el: Element | null, text?: string): void
  toast(text: string): void
  redraw(): void
  learning(): boolean
  learn(address: string): void
  stopPan(): void
  fingers(): number // on panels and the desk
  taken(id: string, row: number, hp: number): string | undefined // who stands there
}

interface Shown { control: Control; address: string; el: SVGGElement; turn?: SVGGElement; drawn?: number | string; throw_?: SVGGElement; text?: SVGTextElement; full?: string }

// Panel is one module in the rack.
export class Panel {
  readonly el: HTMLDivElement
  readonly plate: Plate
  shown = new Map<string, Shown>() // by name
  held = new Set<string>() // names of controls that a hand holds
  drawn = false

  constructor(private desk: Desk, public module: Module) {
    this.plate = desk.model.plate(module.id)
    this.el = document.createElement('div')
    this.el.className = 'module'
    this.el.dataset.id = module.id
    this.el.tabIndex = 0
    this.el.setAttribute('role', 'group')
    this.el.setAttribute('aria-label', `${this.plate.title} ${module.id}`)
    this.el.addEventListener('focusin', () => this.enter(true))
    this.el.addEventListener('focusout', e => { if (!this.el.contains(e.relatedTarget as Node)) this.enter(false) })
    this.el.addEventListener('keydown', e => this.key(e))
    this.el.addEventListener('pointerdown', e => this.grab(e))
    this.place()
    plateOf(this.plate.kind).then(svg => this.draw(svg), e => desk.toast(String(e.message)))
  }

  place() {
    const u = this.desk.unit()
    Object.assign(this.el.style, { left: `${this.module.hp * HP * u}px`, top: `${this.module.row * ROW * u}px`, width: `${this.plate.hp * HP * u}px`, height: `${PANEL * u}px` })
  }

  private draw(svg: SVGSVGElement) {
    const root = svg.cloneNode(true) as SVGSVGElement
    this.el.replaceChildren(root)
    this.drawn = true
    root.setAttribute('aria-hidden', 'false')
    const name = document.createElement('span')
    name.className = 'name'
    name.textContent = this.module.id.slice(this.module.id.indexOf('/') + 1)
    this.el.append(name)
    for (const c of this.plate.controls) {
      const el = [...root.querySelectorAll<SVGGElement>(`.control[data-part="${c.part}"]`)].find(e => (e.dataset.param ?? e.dataset.input ?? e.dataset.output) === c.name)
      if (!el) continue
      const address = `/${this.module.id}/${c.name}`, jack = address.slice(1)
      el.tabIndex = -1
      switch (c.part) {
        case 'knob': case 'trimmer': case 'toggle': case 'selector': case 'counter': case 'display': {
          const s: Shown = { control: c, address, el, turn: el.querySelector<SVGGElement>('.turn') ?? undefined, throw_: el.querySelector<SVGGElement>('.throw') ?? undefined, text: el.querySelector<SVGTextElement>('text.value') ?? undefined }
          s.full = s.text?.textContent ?? undefined
          this.shown.set(c.name, s)
          el.setAttribute('role', c.part === 'display' ? 'textbox' : 'slider')
          el.setAttribute('aria-label', `${c.name.replaceAll('_', ' ')} of ${this.module.id}`)
          if (c.part !== 'display') {
            el.setAttribute('aria-valuemin', String(c.min ?? 0))
            el.setAttribute('aria-valuemax', String(c.max ?? 0))
            el.addEventListener('pointerdown', e => this.turn(e, s))
            el.addEventListener('wheel', e => this.wheel(e, s), { passive: false })
            el.addEventListener('dblclick', () => this.set(s, c.value ?? 0))
          } else {
            el.addEventListener('pointerdown', e => { if (e.pointerType !== 'touch') e.stopPropagation() })
            el.addEventListener('click', () => this.type(s))
          }
          el.addEventListener('keydown', e => this.knobKey(e, s))
          el.addEventListener('focus', () => this.desk.tip(el, this.describe(s)))
          el.addEventListener('blur', () => this.desk.tip(null))
          el.addEventListener('pointerenter', e => { if (e.pointerType !== 'touch') this.desk.tip(el, this.describe(s)) })
          el.addEventListener('pointerleave', () => { if (!this.held.has(c.name)) this.desk.tip(null) })
          this.show(c.name)
          break
        }
        case 'input': case 'output': {
          const out = c.part === 'output'
          el.setAttribute('role', 'button')
          el.setAttribute('aria-label', `${out ? 'output' : 'input'} ${c.name.replaceAll('_', ' ')} of ${this.module.id}, ${c.signal ?? ''}`)
          el.dataset.jackref = jack
          el.classList.add(out ? 'is-output' : 'is-input')
          el.addEventListener('pointerdown', e => { e.stopPropagation(); this.desk.jack(e, jack, out) })
          el.addEventListener('keydown', e => { if (e.key === 'Enter' || e.key === ' ') { e.preventDefault(); e.stopPropagation(); this.desk.jack(e, jack, out) } })
          const tell = () => {
            const from = out ? '' : this.desk.model.cableInto(jack)?.from
            this.desk.tip(el, `${c.name.replaceAll('_', ' ')} · ${c.signal ?? ''}${out ? ` · ${this.desk.model.level(address).toFixed(2)} V` : from ? ` ◀ ${from}` : ''}\n${c.doc ?? ''}`)
          }
          el.addEventListener('pointerenter', e => { if (e.pointerType !== 'touch') tell() })
          el.addEventListener('pointerleave', () => this.desk.tip(null))
          el.addEventListener('focus', tell)
          el.addEventListener('blur', () => this.desk.tip(null))
          break
        }
        case 'button': {
          el.setAttribute('role', 'button')
          el.setAttribute('aria-label', `push ${c.name.replaceAll('_', ' ')} of ${this.module.id}`)
          // It is down as long as one finger or key holds it.
          const holds = new Set<number | string>()
          const down = (who: number | string) => {
            if (this.desk.learning()) return this.desk.learn(address)
            if (!holds.size) this.desk.link.send({ set: { address, value: 10 } })
            holds.add(who)
            el.classList.add('down')
          }
          const up = (who: number | string) => {
            if (!holds.delete(who) || holds.size) return
            this.desk.link.send({ set: { address, value: 0 } })
            el.classList.remove('down')
          }
          const key = (e: KeyboardEvent) => e.key === 'Enter' || e.key === ' '
          el.addEventListener('pointerdown', e => { e.stopPropagation(); down(e.pointerId); if (holds.has(e.pointerId)) el.setPointerCapture(e.pointerId) })
          for (const k of ['pointerup', 'pointercancel', 'lostpointercapture'] as const) el.addEventListener(k, e => up(e.pointerId))
          el.addEventListener('keydown', e => { if (key(e) && !e.repeat) { e.preventDefault(); e.stopPropagation(); down('key') } })
          el.addEventListener('keyup', e => { if (key(e)) up('key') })
          el.addEventListener('blur', () => up('key'))
          break
        }
        default: // lights and screens are drawn over it
          el.setAttribute('aria-hidden', 'true')
          el.removeAttribute('tabindex')
      }
    }
    this.desk.redraw()
  }

  // enter makes what is on the panel reachable by the Tab key, or leaves that
  // to the panel alone, so that nobody tabs through a thousand jacks.
  private enter(on: boolean) {
    for (const el of this.el.querySelectorAll<SVGGElement>('.control[role]')) el.tabIndex = on ? 0 : -1
    if (on) this.desk.select(this.module.id)
  }

  private describe(s: Shown) {
    const v = this.desk.model.values.get(s.address), t = this.desk.model.status?.takeovers?.find(t => t.address === s.address)
    const away = t ? `\n${t.control} of ${t.port} is at ${Math.round(100 * t.have)} %: turn it ${t.have < t.want ? 'up' : 'down'} to ${Math.round(100 * t.want)} %, and it takes over` : ''
    return `${s.control.name.replaceAll('_', ' ')}  ${words(s.control, v)}\n${s.control.doc ?? ''}${away}`
  }

  // show moves a control to where its value stands.
  show(name: string) {
    const s = this.shown.get(name)
    if (!s) return
    const v = this.desk.model.values.get(s.address), c = s.control
    if (v === undefined || v === s.drawn) return
    s.drawn = v
    if (typeof v === 'string') {
      if (s.text) s.text.textContent = fit(v, c.w)
      s.el.setAttribute('aria-label', `${c.name.replaceAll('_', ' ')} of ${this.module.id}: ${v || 'empty'}`)
      return
    }
    if (s.turn) point(s.turn, 280 * travel(c, v) - 140)
    if (s.throw_) {
      const last = Math.max((c.choices?.length ?? 2) - 1, 1)
      s.throw_.setAttribute('transform', `translate(0 ${(1.65 * (1 - 2 * v / last)).toFixed(2)})`)
    }
    if (s.text) s.text.textContent = fit(c.choices ? c.choices[Math.round(v)] ?? '' : words(c, v), c.w)
    s.el.setAttribute('aria-valuenow', String(v))
    s.el.setAttribute('aria-valuetext', words(c, v))
  }

  showAll() { for (const name of this.shown.keys()) this.show(name) }

  private set(s: Shown, v: number | string) {
    const model = this.desk.model
    if (typeof v === 'number') v = clamp(s.control, v)
    if (model.values.get(s.address) === v) return
    model.values.set(s.address, v)
    clearTimeout(model.sent.get(s.address)?.timer)
    model.sent.set(s.address, { value: v, at: performance.now(), timer: 0 })
    this.show(s.control.name)
    this.desk.link.send({ set: typeof v === 'number' ? { address: s.address, value: v } : { address: s.address, value: 0, word: v } })
    this.desk.tip(s.el, this.describe(s))
  }

  private turn(e: PointerEvent, s: Shown) {
    if (e.button !== 0) return
    e.stopPropagation()
    if (this.desk.learning()) return this.desk.learn(s.address)
    e.preventDefault()
    s.el.focus({ preventScroll: true })
    const c = s.control
    const step = c.part === 'toggle' || c.part === 'selector'
    let t = travel(c, this.desk.model.values.get(s.address) as number), y = e.clientY, x = e.clientX, moved = false
    s.el.setPointerCapture(e.pointerId)
    this.held.add(c.name)
    s.el.classList.add('held')
    // A finger has no keys: one that rests asks for a number.
    const rest = e.pointerType === 'touch' && !step ? window.setTimeout(() => { if (!moved && this.held.has(c.name)) { end(); this.type(s, false, true) } }, 650) : 0
    const id = e.pointerId
    const move = (e: PointerEvent) => {
      if (e.pointerId !== id) return
      const d = (y - e.clientY) + (e.clientX - x)
      if (!moved && Math.abs(d) < 3) return
      moved = true
      clearTimeout(rest)
      t = Math.min(Math.max(t + d * (e.shiftKey ? 0.0004 : 0.004), 0), 1)
      x = e.clientX; y = e.clientY
      this.set(s, value(c, t))
    }
    const end = () => {
      clearTimeout(rest)
      this.held.delete(c.name)
      s.el.classList.remove('held')
      s.el.removeEventListener('pointermove', move)
      s.el.removeEventListener('pointerup', up)
      s.el.removeEventListener('pointercancel', up)
    }
    const up = (e: PointerEvent) => {
      if (e.pointerId !== id) return
      end()
      if (!moved && step && e.type === 'pointerup') {
        const v = (this.desk.model.values.get(s.address) as number) + 1
        this.set(s, v > (c.max ?? 1) ? c.min ?? 0 : v)
      }
    }
    s.el.addEventListener('pointermove', move)
    s.el.addEventListener('pointerup', up)
    s.el.addEventListener('pointercancel', up)
    this.desk.tip(s.el, this.describe(s))
  }

  private nudge(s: Shown, steps: number, fine: boolean) {
    const c = s.control, v = this.desk.model.values.get(s.address) as number
    if (c.whole || c.choices) this.set(s, v + Math.sign(steps) * Math.max(Math.abs(steps), 1))
    else this.set(s, value(c, travel(c, v) + steps * (fine ? 0.001 : 0.01)))
  }

  private wheel(e: WheelEvent, s: Shown) {
    if (e.ctrlKey) return // that is zoom
    e.preventDefault()
    e.stopPropagation()
    this.nudge(s, wheelUp(e) ? 1 : -1, e.shiftKey)
  }

  private knobKey(e: KeyboardEvent, s: Shown) {
    const c = s.control
    const by: Record<string, number> = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 }
    if (c.part === 'display') {
      if (e.key === 'Enter' || e.key === ' ') { e.preventDefault(); e.stopPropagation(); this.type(s) }
      return
    }
    if (e.key in by) this.nudge(s, by[e.key], e.shiftKey)
    else if (e.key === 'Home') this.set(s, c.min ?? 0)
    else if (e.key === 'End') this.set(s, c.max ?? 0)
    else if (e.key === 'Backspace' || e.key === 'Delete') this.set(s, c.value ?? 0)
    else if (e.key === 'Enter') this.type(s)
    else if (/^[0-9.+-]$/.test(e.key) && !e.ctrlKey && !e.metaKey && !e.altKey) {
      e.stopPropagation()
      return this.type(s, true) // the key itself goes there
    } else return
    e.preventDefault()
    e.stopPropagation()
  }

  // type asks for a value by the keyboard; a finger may still rest there.
  private type(s: Shown, empty = false, finger = false) {
    if (this.desk.learning()) return this.desk.learn(s.address)
    const c = s.control, now = this.desk.model.values.get(s.address)
    const box = s.el.getBoundingClientRect()
    const input = document.createElement(c.choices ? 'select' : 'input') as HTMLInputElement & HTMLSelectElement
    input.className = 'typed'
    input.setAttribute('aria-label', `${c.name} of ${this.module.id}`)
    if (c.choices) for (const [i, w] of c.choices.entries()) input.append(new Option(w, String(i), false, i === now))
    else { input.value = empty ? '' : typeof now === 'number' ? String(+now.toPrecision(6)) : now ?? ''; input.inputMode = typeof now === 'number' ? 'decimal' : 'text' }
    Object.assign(input.style, { left: `${Math.max(box.left + box.width / 2 - 70, 4)}px`, top: `${box.top + box.height / 2 - 14}px` })
    document.body.append(input)
    input.focus()
    if (!empty && !c.choices) input.select()
    let done = false
    // A tablet brings its keyboard only for what gets the focus as a finger lifts.
    if (finger) addEventListener('pointerup', () => { if (!done) { input.focus(); if (!c.choices) input.select() } }, { once: true })
    const end = (take: boolean) => {
      if (done) return
      done = true
      if (take) {
        if (typeof now === 'string') this.set(s, input.value)
        else {
          const v = Number(input.value.replace(',', '.'))
          if (Number.isFinite(v) && input.value.trim() !== '' && v >= (c.min ?? 0) && v <= (c.max ?? 0)) this.set(s, v)
          else this.desk.toast(`${c.name} is ${words(c, c.min ?? 0)} … ${words(c, c.max ?? 0)}`)
        }
      }
      input.remove()
      s.el.focus({ preventScroll: true })
    }
    input.addEventListener('keydown', e => {
      e.stopPropagation()
      if (e.key === 'Enter') end(true)
      else if (e.key === 'Escape') end(false)
    })
    if (c.choices) input.addEventListener('change', () => end(true))
    input.addEventListener('blur', () => end(true))
  }

  // key moves the whole panel, takes it away, or goes into it.
  private key(e: KeyboardEvent) {
    if (e.target !== this.el) {
      if (e.key === 'Escape') this.el.focus()
      return
    }
    const m = this.module, link = this.desk.link
    const by: Record<string, [number, number]> = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }
    if (e.key in by && e.altKey) {
      e.preventDefault()
      this.moveTo(Math.max(m.row + by[e.key][0], 0), Math.max(m.hp + by[e.key][1], 0))
    } else if (e.key in by) {
      e.preventDefault()
      let best: HTMLElement | undefined, least = Infinity
      const a = this.el.getBoundingClientRect(), [dr, dh] = by[e.key]
      for (const o of document.querySelectorAll<HTMLElement>('.module')) {
        const b = o.getBoundingClientRect(), dx = b.left - a.left, dy = b.top - a.top
        if (o === this.el || (dh && (dx * dh <= 0 || Math.abs(dy) > a.height / 2)) || (dr && dy * dr <= a.height / 2)) continue
        const d = Math.abs(dx) + Math.abs(dy) * 2
        if (d < least) { least = d; best = o }
      }
      best?.focus()
    } else if (e.key === 'Delete') {
      link.ask({ remove: { name: m.id } }).catch(e => this.desk.toast(e.message))
    } else if (e.key === 'Enter') {
      e.preventDefault()
      this.el.querySelector<SVGGElement>('.control[role]')?.focus()
    }
  }

  // grab drags the panel by its plate, to the next whole HP of the next row. A
  // finger has to rest a moment first, because one that moves at once pans.
  private grab(e: PointerEvent) {
    if (e.button !== 0) return
    const id = e.pointerId, touch = e.pointerType === 'touch', x0 = e.clientX, y0 = e.clientY
    const scroll = this.el.closest<HTMLElement>('#scroll')!, sx = scroll.scrollLeft, sy = scroll.scrollTop
    let dragging = false, far = false, row = this.module.row, hp = this.module.hp, rest = 0, taken: string | undefined
    const place = document.createElement('div')
    if (!touch) this.desk.select(this.module.id)
    const begin = () => {
      if (touch && this.desk.fingers() !== 1) return // two zoom
      dragging = true
      this.desk.stopPan()
      this.el.setPointerCapture(id)
      this.el.classList.add('dragged')
      place.className = 'place'
      this.el.parentElement!.append(place)
      if (touch) navigator.vibrate?.(15)
      show(x0, y0)
    }
    const show = (x: number, y: number) => {
      const u = this.desk.unit(), dx = x - x0 + scroll.scrollLeft - sx, dy = y - y0 + scroll.scrollTop - sy
      hp = Math.max(Math.round(this.module.hp + dx / (HP * u)), 0)
      row = Math.max(Math.round(this.module.row + dy / (ROW * u)), 0)
      taken = this.desk.taken(this.module.id, row, hp)
      this.el.style.transform = `translate(${dx}px, ${dy}px)`
      this.desk.model.moved = { id: this.module.id, x: dx / u, y: dy / u }
      this.desk.redraw()
      place.classList.toggle('taken', !!taken)
      place.textContent = taken ? `${taken} stands here` : ''
      Object.assign(place.style, { left: `${hp * HP * u}px`, top: `${row * ROW * u}px`, width: `${this.plate.hp * HP * u}px`, height: `${PANEL * u}px` })
    }
    if (touch) rest = window.setTimeout(begin, 380)
    const move = (e: PointerEvent) => {
      if (e.pointerId !== id) return
      if (!dragging && Math.hypot(e.clientX - x0, e.clientY - y0) >= 6) {
        far = true
        clearTimeout(rest)
        if (touch) return
        begin()
      }
      if (dragging) show(e.clientX, e.clientY)
    }
    const up = (e: PointerEvent) => {
      if (e.pointerId !== id) return
      clearTimeout(rest)
      removeEventListener('pointermove', move)
      removeEventListener('pointerup', up)
      removeEventListener('pointercancel', up)
      this.el.classList.remove('dragged')
      this.el.style.transform = ''
      place.remove()
      this.desk.model.moved = undefined
      if (dragging) this.desk.redraw()
      if (!dragging) {
        if (touch && !far && e.type === 'pointerup') this.desk.select(this.module.id)
        return
      }
      if (e.type !== 'pointerup' || row === this.module.row && hp === this.module.hp) return
      this.moveTo(row, hp)
    }
    addEventListener('pointermove', move)
    addEventListener('pointerup', up)
    addEventListener('pointercancel', up)
  }

  private moveTo(row: number, hp: number) {
    const taken = this.desk.taken(this.module.id, row, hp), id = this.module.id
    if (taken) return this.desk.toast(`There is no room for ${id} in row ${row + 1} at ${hp} HP: ${taken} stands there.`)
    const was = { ...this.module }
    Object.assign(this.module, { row, hp })
    this.place() // it does not wait for the instrument to agree
    this.desk.redraw()
    this.desk.link.ask({ move: { id, row, hp } }).catch(e => { Object.assign(this.module, { row: was.row, hp: was.hp }); this.place(); this.desk.redraw(); this.desk.toast(e.message) })
  }
}

// fit cuts a text to a display's width, in millimetres.
function fit(text: string, width: number) {
  const n = Math.max(Math.floor((width - 2) / 1.28), 2)
  return text.length > n ? text.slice(0, n - 1) + '…' : text
}
