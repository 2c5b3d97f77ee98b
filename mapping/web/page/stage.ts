// The stage: how scenes come and go. What waits and when it comes, the fader of
// a morph, snapshots in their slots, and set lists. The deck at the foot of the
// page and the tab in the side show the same; what a hand has chosen there is
// this page's own, and what came of it is everybody's.

import type { Model } from './model'
import type { Link, SceneInfo, Status } from './link'
import { el, refill, wheelUp } from './el'

const slots = 16, remembered = 'how'

// How is what a press on a scene does.
interface How {
  press: 'play' | 'diff' | 'store'
  way: 'launch' | 'morph'
  at: '' | 'now' | 'beat' | 'bar' | 'phrase' // empty: what the scene says
  crossfade: number // s; less than 0: what the scene says
  seconds: number // of a morph; 0: by hand
  cut: number // where on a morph cables change, 0…1
}
type Choice = 'press' | 'way' | 'at'
type Amount = 'crossfade' | 'seconds' | 'cut'

const amounts: Record<Amount, { title: string; steps: number[]; text(v: number): string }> = {
  crossfade: { title: 'Crossfade', steps: [-1, 0, 0.1, 0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 16, 20, 30], text: v => v < 0 ? 'as written' : long(v) },
  seconds: { title: 'Over', steps: [0, 1, 2, 4, 8, 16, 30, 60, 120, 300, 600, 1800, 3600], text: v => v ? long(v) : 'by hand' },
  cut: { title: 'Cut', steps: Array.from({ length: 21 }, (_, i) => i / 20), text: v => `at ${Math.round(100 * v)} %` },
}
const choices: Record<Choice, { title: string; of: [string, string, string][] }> = {
  press: { title: 'A press will', of: [['play', 'Play', 'A press brings the scene'], ['diff', 'Diff', 'A press shows what the scene would change in the cluster'], ['store', 'Store', 'A press on a slot keeps what plays in it']] },
  way: { title: 'Way', of: [['launch', 'Launch', 'It comes at once'], ['morph', 'Morph', 'Knobs glide to it']] },
  at: { title: 'At', of: [['', 'As written', 'When the scene says'], ['now', 'Now', 'At once'], ['beat', 'Beat', 'With the next beat'], ['bar', 'Bar', 'With the next bar'], ['phrase', 'Phrase', 'With the next phrase']] },
}

function long(v: number) { return v < 60 ? `${v} s` : v < 3600 ? `${v / 60} min` : `${v / 3600} h` }

export class Stage {
  private how: How = { press: 'play', way: 'launch', at: '', crossfade: -1, seconds: 8, cut: 0.5 }
  private syncs: (() => void)[] = [] // bring what shows the choices in step with them
  private lists: (() => void)[] = [] // and what shows scenes
  private key = ''
  private ends = 0 // when what waits is heard, on the page's clock
  private whole = 0 // s that it waits, as it was first told
  private clock = 0
  private x = 0 // where the morph is
  private hold?: { id: number; x: number; from: number }
  private want?: number // a place of the fader that was not asked for yet
  private asking = false
  private told = ''
  private parts: Record<'coming' | 'name' | 'when' | 'in' | 'drain' | 'fader' | 'from' | 'to' | 'cancel' | 'set' | 'place' | 'note' | 'mode', HTMLElement>

  // deck is filled; look shows what playing a scene would change, and plays it
  // if it is asked to.
  constructor(private model: Model, private link: Link, deck: HTMLElement, private said: HTMLElement, private toast: (text: string) => void, private look: (scene: string, play: () => void) => void) {
    try { Object.assign(this.how, JSON.parse(localStorage.getItem(remembered) ?? '{}'), { press: 'play' }) } catch { /* it was never chosen */ }
    const part = (className: string, tag: 'div' | 'span' | 'strong' | 'b' | 'i' = 'div') => el(tag, { className })
    const p = this.parts = {
      coming: part('coming'), name: part('name', 'strong'), when: part('when', 'span'), in: part('in'), drain: part('drain'), fader: part('fader'), from: part('from', 'span'), to: part('to', 'span'),
      cancel: el('button', { className: 'cancel', key: 'cancel' }), set: part('set'), place: part('place-in'), note: part('note'), mode: part('mode'),
    }
    p.cancel.onclick = () => this.act('cancel')
    p.fader.tabIndex = 0
    p.fader.setAttribute('role', 'slider')
    p.fader.setAttribute('aria-valuemin', '0')
    p.fader.setAttribute('aria-valuemax', '100')
    p.fader.append(part('fill', 'i'), part('cut', 'i'), part('thumb', 'i'), p.from, p.to)
    this.pull(p.fader)
    const text = part('text')
    text.append(p.name, p.when)
    p.coming.append(text, p.in, p.fader, p.cancel, p.drain)
    const words = part('words')
    words.append(p.place, p.note)
    p.set.append(this.step('previous', '◀', 'Previous'), words, this.step('next', '▶', 'Next'))
    const on = part('now')
    on.append(p.coming, p.set)
    const scenes = part('strip'), pads = part('pads'), how = this.controls('deck')
    scenes.setAttribute('role', 'group')
    scenes.setAttribute('aria-label', 'Scenes')
    this.lists.push(() => {
      refill(scenes, ...this.scenes().map(s => this.button(s, s.name, 'deck')))
    })
    this.pads(pads, 'deck')
    how.append(this.choose('deck'))
    deck.append(on, scenes, pads, how)
    this.sync()
    this.tell()
  }

  // scenes are those that are no snapshots.
  scenes(): SceneInfo[] { return this.model.scenes.filter(s => !s.slot) }

  private act(name: string) { return this.link.ask({ act: { name } }).catch(e => this.toast(e.message)) }

  // bring plays a scene the way that is chosen.
  bring(name: string) {
    const h = this.how, s = this.model.scenes.find(s => s.name === name)
    const play = () => this.act(h.way === 'morph' ? `morph:${name}:${h.seconds}:${h.cut}`
      : h.crossfade >= 0 ? `launch:${name}:${h.at}:${h.crossfade}` : h.at ? `launch:${name}:${h.at}` : s?.slot ? `slot:${s.slot}` : `scene:${name}`)
    if (h.press === 'store') this.toast('A slot is what keeps what plays: press one of its numbers.')
    else if (h.press === 'diff') this.look(name, play)
    else play()
  }

  private slot(n: number) {
    if (this.how.press === 'store') {
      const was = this.model.scenes.some(s => s.slot === n)
      this.set('press', 'play')
      this.link.ask({ act: { name: `snapshot:${n}` } }).then(() => this.toast(`Slot ${n} has what plays now.${was ? ' Undo brings back what was there.' : ''}`), e => this.toast(e.message))
    } else if (this.model.scenes.some(s => s.slot === n)) this.bring(`slot-${n}`)
    else this.toast(`Slot ${n} is empty. Choose Store, then the slot, to keep what plays in it.`)
  }

  private set<K extends keyof How>(k: K, v: How[K]) {
    this.how[k] = v
    localStorage.setItem(remembered, JSON.stringify(this.how))
    this.sync()
  }
  private sync() { for (const f of this.syncs) f() }

  // controls choose what a press does.
  private controls(where: string): HTMLElement {
    const box = el('div', { className: 'how' })
    const choice = (k: Choice) => {
      const c = choices[k], set = el('fieldset', { className: `seg of-${k}` })
      set.append(el('legend', { textContent: c.title }))
      for (const [v, text, doc] of c.of) {
        const input = el('input', { type: 'radio', name: `${where}-${k}`, value: v, key: `${where}-${k}-${v}` }), label = el('label', { title: doc })
        input.onchange = () => this.set(k, v as never)
        label.append(input, el('span', { textContent: text }))
        set.append(label)
        this.syncs.push(() => { input.checked = this.how[k] === v })
      }
      return set
    }
    const amount = (k: Amount) => {
      const a = amounts[k], label = el('label', { className: `amount of-${k}` }), out = el('output')
      const input = el('input', { type: 'range', min: '0', max: String(a.steps.length - 1), step: '1', key: `${where}-${k}` })
      input.oninput = () => this.set(k, a.steps[Number(input.value)])
      this.syncs.push(() => {
        const v = this.how[k], i = a.steps.reduce((best, s, i) => Math.abs(s - v) < Math.abs(a.steps[best] - v) ? i : best, 0)
        input.value = String(i)
        out.textContent = a.text(v)
        input.setAttribute('aria-valuetext', a.text(v))
      })
      label.append(el('span', { textContent: a.title }), out, input)
      return label
    }
    box.append(choice('press'), choice('way'), choice('at'), amount('crossfade'), amount('seconds'), amount('cut'))
    this.syncs.push(() => { box.dataset.way = this.how.way; box.dataset.press = this.how.press })
    return box
  }

  // button is a scene to press.
  private button(s: SceneInfo, text: string, where: string): HTMLButtonElement {
    const b = el('button', { title: s.about || s.title, textContent: text, key: `${where}-${s.name}` })
    b.dataset.scene = s.name
    b.onclick = () => this.bring(s.name)
    return b
  }

  // pads are the slots.
  private pads(box: HTMLElement, where: string) {
    box.setAttribute('role', 'group')
    box.setAttribute('aria-label', 'Snapshots')
    const all = Array.from({ length: slots }, (_, i) => {
      const b = el('button', { className: 'pad', key: `${where}-pad-${i + 1}` })
      b.append(el('b', { textContent: String(i + 1) }), ' ', el('small'))
      b.dataset.scene = `slot-${i + 1}`
      b.onclick = () => this.slot(i + 1)
      return b
    })
    box.replaceChildren(...all)
    const tell = () => {
      for (const [i, b] of all.entries()) {
        const s = this.model.scenes.find(s => s.slot === i + 1)
        b.classList.toggle('filled', !!s)
        b.querySelector('small')!.textContent = s?.title ?? ''
        b.title = s?.title ?? 'empty'
        b.setAttribute('aria-label', `${i + 1} ${s ? `${s.title}, snapshot` : 'empty slot'}${this.how.press === 'store' ? ': store what plays here' : ''}`)
      }
      box.dataset.press = this.how.press
    }
    this.syncs.push(tell)
    this.lists.push(tell)
  }

  private step(action: string, sign: string, text: string) {
    const b = el('button', { className: 'step', ariaLabel: `${text} scene`, key: action })
    b.append(el('span', { textContent: sign }))
    b.onclick = () => this.act(action)
    return b
  }

  // choose picks a set list.
  private choose(where: string): HTMLElement {
    const label = el('label', { className: 'choose' }), pick = el('select', { key: `${where}-list` })
    label.append(el('span', { textContent: 'Set list' }), pick)
    pick.onchange = () => { this.act(`setlist:${pick.value || 'off'}`).then(() => this.tell()) }
    const draw = () => {
      const on = this.model.status?.setList
      const all = [...this.model.state?.setLists ?? []]
      if (on && !all.some(l => l.name === on.name)) all.push(on)
      const key = JSON.stringify(all.map(l => [l.name, l.title]))
      if (pick.dataset.all !== key) {
        pick.dataset.all = key
        pick.replaceChildren(new Option('none', ''), ...all.map(l => new Option(l.title && l.title !== l.name ? `${l.name} · ${l.title}` : l.name, l.name)))
      }
      pick.value = on?.name ?? ''
      label.hidden = !all.length
    }
    this.lists.push(draw)
    return label
  }

  // pane fills the tab of the side.
  pane(pane: HTMLElement) {
    const n = [this.syncs.length, this.lists.length]
    const how = this.controls('side'), pads = el('div', { className: 'pads' }), list = el('div', { className: 'scenes' }), set = el('div', { className: 'row setting' })
    this.pads(pads, 'side')
    set.append(this.choose('side'), this.step('previous', '◀', 'Previous'), this.step('next', '▶', 'Next'))
    let drawn = ''
    this.lists.push(() => {
      const key = JSON.stringify(this.scenes())
      if (key === drawn) return
      drawn = key
      refill(list, ...this.scenes().map((s, i) => {
        const b = this.button(s, '', 'side'), d = el('button', { className: 'quiet', textContent: 'Diff', ariaLabel: `Diff: what playing ${s.name} would change`, key: `diff-${s.name}` }), row = el('div', { className: 'row' })
        b.className = 'kind'
        b.append(el('strong', { textContent: `${i + 1}  ${s.name}` }), el('small', { textContent: s.title }))
        d.onclick = () => this.look(s.name, () => { const was = this.how.press; this.how.press = 'play'; this.bring(s.name); this.how.press = was })
        row.append(b, d)
        return row
      }))
    })
    const as = el('input', { placeholder: 'name', ariaLabel: 'Name to save under', value: this.model.state?.scene ?? '' })
    const save = el('button', { textContent: 'Save as' }), row = el('div', { className: 'row' })
    save.onclick = () => this.link.ask<{ path: string }>({ save: { name: as.value } }).then(r => this.toast(`saved to ${r.path}`), e => this.toast(e.message))
    row.append(as, save)
    pane.append(el('h2', { className: 'unseen', textContent: 'How scenes come' }), how, el('h3', { textContent: 'Snapshots' }), pads, el('h3', { textContent: 'Scenes' }), list, set, row)
    // The tab lets go of what was on it.
    const mine = [this.syncs.slice(n[0]), this.lists.slice(n[1])]
    this.leave = () => { this.syncs = this.syncs.filter(f => !mine[0].includes(f)); this.lists = this.lists.filter(f => !mine[1].includes(f)) }
    this.sync()
    this.relist(true)
  }
  leave() { /* no tab is open */ }

  // relist takes over which scenes there are.
  relist(anew = false) {
    const key = JSON.stringify([this.model.scenes, this.model.state?.setLists])
    if (anew || key !== this.key) {
      this.key = key
      for (const f of this.lists) f()
    }
    this.mark()
  }

  private mark() {
    const now = this.model.state?.scene, s = this.model.status, comes = s?.waiting?.scene ?? s?.morph?.to
    for (const b of document.querySelectorAll<HTMLElement>('[data-scene]')) {
      if (b.dataset.scene === now) b.setAttribute('aria-current', 'true')
      else b.removeAttribute('aria-current')
      b.classList.toggle('comes', b.dataset.scene === comes && comes !== now)
    }
  }

  // tell takes over what the instrument says of the stage.
  tell(s: Status | undefined = this.model.status) {
    const p = this.parts, w = s?.waiting, m = s?.morph, l = s?.setList
    p.coming.hidden = !w && !m
    p.coming.dataset.what = w ? 'waits' : m ? 'morph' : ''
    p.in.hidden = !m && !w?.in
    p.drain.hidden = !w?.in
    p.fader.hidden = !m || !!w
    let says = ''
    if (w) {
      says = `${w.scene} waits for the next ${w.for}`
      put(p.name, w.scene)
      put(p.when, `${w.for === 'now' ? 'comes' : `with the next ${w.for}`}${w.crossfade ? ` · crossfade ${w.crossfade} s` : ''}`)
      put(p.cancel, 'Cancel')
      p.cancel.setAttribute('aria-label', `Cancel: ${w.scene} does not come`)
      const ends = performance.now() + 1000 * w.in
      if (says !== this.told) this.whole = w.in
      if (says !== this.told || Math.abs(ends - this.ends) > 60) this.ends = ends
      this.whole = Math.max(this.whole, w.in)
      if (w.in && !this.clock) this.clock = window.setInterval(() => this.count(), 50)
      this.count()
    } else if (m) {
      says = `Morph from ${m.from} to ${m.to}`
      put(p.name, m.to)
      put(p.when, m.back ? `goes back to ${m.from}` : m.held ? m.position === 1 ? 'is there, on the fader' : 'is on the fader' : `comes over ${long(Math.round(10 * m.seconds) / 10)}`)
      put(p.cancel, 'Back')
      p.cancel.setAttribute('aria-label', `Back: the morph goes back to ${m.from}`)
      put(p.from, m.from)
      put(p.to, m.to)
      p.fader.setAttribute('aria-label', says)
      p.fader.style.setProperty('--cut', String(m.cut))
      if (says !== this.told) this.hold = this.want = undefined
      this.moved(m.position)
    }
    if (!w?.in && this.clock) { clearInterval(this.clock); this.clock = 0 }
    if (!m) this.hold = this.want = undefined
    if (says !== this.told) {
      this.told = says
      this.said.textContent = says || (this.model.state ? `${this.model.state.scene} plays` : '')
    }
    p.set.hidden = !l
    if (l) {
      put(p.place, `${l.entry || '–'}/${l.scenes.length}  ${l.title || l.name}`)
      put(p.note, [l.next ? `next: ${l.next}` : 'the end', l.note].filter(Boolean).join(' · '))
    }
    for (const pick of document.querySelectorAll<HTMLSelectElement>('.choose select')) if (document.activeElement !== pick) pick.value = l?.name ?? ''
    this.mark()
  }

  private count() {
    const left = Math.max(this.ends - performance.now(), 0) / 1000
    put(this.parts.in, left.toFixed(1))
    this.parts.drain.style.setProperty('--left', (this.whole ? Math.min(left / this.whole, 1) : 0).toFixed(3))
  }

  // moved takes over where the morph is, unless a hand here is ahead.
  moved(x: number) {
    if (this.hold || this.asking || this.want !== undefined) return
    this.x = x
    this.draw()
  }
  private draw() {
    const f = this.parts.fader
    f.style.setProperty('--x', this.x.toFixed(4))
    const share = String(Math.round(100 * this.x))
    if (this.parts.coming.dataset.what === 'morph') put(this.parts.in, share)
    f.setAttribute('aria-valuenow', share)
    f.setAttribute('aria-valuetext', `${share} %`)
  }

  // go asks for a place, one at a time: the last one counts.
  private go(x: number) {
    this.x = this.want = Math.min(Math.max(x, 0), 1)
    this.draw()
    this.ask()
  }
  private async ask() {
    if (this.asking) return
    this.asking = true
    while (this.want !== undefined) {
      const x = this.want
      this.want = undefined
      try { await this.link.ask({ act: { name: `position:${+x.toFixed(4)}` } }) } catch (e) {
        this.want = this.hold = undefined
        this.toast((e as Error).message)
      }
    }
    this.asking = false
  }

  // pull lets one finger, the wheel and keys move the fader. It goes from where
  // it is: a touch alone leaps nowhere.
  private pull(f: HTMLElement) {
    f.addEventListener('pointerdown', e => {
      if (e.button !== 0 || this.hold) return
      e.preventDefault()
      f.focus({ preventScroll: true })
      f.setPointerCapture(e.pointerId)
      this.hold = { id: e.pointerId, x: e.clientX, from: this.x }
      f.classList.add('held')
    })
    f.addEventListener('pointermove', e => {
      const h = this.hold
      if (h?.id !== e.pointerId) return
      const thumb = f.querySelector<HTMLElement>('.thumb')!.offsetWidth, d = (e.clientX - h.x) / Math.max(f.clientWidth - thumb, 1)
      h.x = e.clientX
      h.from = Math.min(Math.max(h.from + (e.shiftKey ? d / 10 : d), 0), 1)
      if (h.from !== this.x) this.go(h.from)
    })
    const up = (e: PointerEvent) => {
      if (this.hold?.id === e.pointerId) this.hold = undefined
      f.classList.remove('held')
    }
    for (const k of ['pointerup', 'pointercancel', 'lostpointercapture'] as const) f.addEventListener(k, up)
    f.addEventListener('wheel', e => { e.preventDefault(); this.go(this.x + (wheelUp(e) ? 1 : -1) * (e.shiftKey ? 0.002 : 0.02)) }, { passive: false })
    f.addEventListener('keydown', e => {
      const step = e.shiftKey ? 0.001 : 0.01
      const to: Record<string, number> = { ArrowRight: this.x + step, ArrowUp: this.x + step, ArrowLeft: this.x - step, ArrowDown: this.x - step, PageUp: this.x + 0.1, PageDown: this.x - 0.1, Home: 0, End: 1 }
      if (!(e.key in to)) return
      e.preventDefault()
      this.go(to[e.key])
    })
  }
}

function put(e: HTMLElement, text: string) { if (e.textContent !== text) e.textContent = text }
