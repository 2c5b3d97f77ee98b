// The side: the selected module's text, the module browser, scenes, pods, the
// ticker, plots, and what an edit would change in the cluster.

import type { Model } from './model'
import type { Link, Line } from './link'
import type { Stage } from './stage'
import { el } from './el'

type Tab = 'module' | 'add' | 'scenes' | 'pods' | 'log' | 'plots'
const tabs: [Tab, string][] = [['module', 'Module'], ['add', 'Add'], ['scenes', 'Scenes'], ['pods', 'Pods'], ['log', 'Log'], ['plots', 'Plots']]

export class Side {
  tab: Tab = 'module'
  selected = ''
  stage?: Stage
  private shown?: { title: string; text: string; go?: () => void } // a diff
  private question = 0 // the newest one
  private rest = 0 // a hand that may come to rest
  private edited = false
  private module_?: { id: string; text: string; manifest?: string } // that is shown
  private reading = false
  private again = false

  constructor(private model: Model, private link: Link, private bar: HTMLElement, private pane: HTMLElement, private toast: (text: string) => void, private free: (hp: number) => { row: number; hp: number }) {
    for (const [id, title] of tabs) {
      const b = document.createElement('button')
      b.id = `tab-${id}`
      b.setAttribute('role', 'tab')
      b.setAttribute('aria-controls', 'pane')
      b.textContent = title
      b.onclick = () => this.open(id)
      b.onkeydown = e => {
        const i = tabs.findIndex(t => t[0] === this.tab), d = e.key === 'ArrowRight' ? 1 : e.key === 'ArrowLeft' ? -1 : 0
        if (d) { const t = tabs[(i + d + tabs.length) % tabs.length][0]; this.open(t); document.getElementById(`tab-${t}`)!.focus() }
      }
      bar.append(b)
    }
    this.open('module')
  }

  open(tab: Tab) {
    this.tab = tab
    for (const [id] of tabs) {
      const b = document.getElementById(`tab-${id}`)!
      b.setAttribute('aria-selected', String(id === tab))
      b.tabIndex = id === tab ? 0 : -1
    }
    this.pane.setAttribute('aria-labelledby', `tab-${tab}`)
    this.show()
  }

  select(id: string) {
    if (this.selected === id) return
    this.selected = id
    this.edited = false
    if (this.tab === 'module') this.show()
  }

  // refresh takes over that the rack looks other than before.
  refresh() {
    if (this.selected && !this.model.modules.has(this.selected)) {
      this.selected = ''
      this.edited = false
      if (this.tab === 'module') this.show()
    }
    if (this.tab === 'module' && !this.edited && this.selected) this.read()
  }

  private async show() {
    const p = this.pane
    this.stage?.leave()
    this.module_ = undefined
    p.replaceChildren()
    switch (this.tab) {
      case 'module': return this.module()
      case 'add': return this.add()
      case 'scenes': this.stage?.pane(p); return this.drawDiff()
      case 'pods': return this.pods()
      case 'log': return this.log()
      case 'plots': return this.plots()
    }
  }

  // diff shows what an edit would change in the cluster, before it is made. It
  // is then made where go is given, if a hand wants it.
  diff(title: string, request: object, go?: () => void) {
    this.clearDiff()
    this.ask(title, request, go)
  }
  // hover is a diff of what a hand is about to do: it is asked for once the hand
  // has come to rest. Nothing is about to happen without a request.
  hover(title = '', request?: object) {
    this.clearDiff()
    if (request && !document.body.classList.contains('no-side')) this.rest = window.setTimeout(() => this.ask(title, request), 300)
  }
  clearDiff() {
    clearTimeout(this.rest)
    this.question++
    this.shown = undefined
    this.drawDiff()
  }

  // ask shows the answer to the newest question only. The instrument calls off
  // the one before when the next comes, so none waits for another.
  private async ask(title: string, request: object, go?: () => void) {
    const mine = ++this.question
    this.shown = { title, text: '…', go }
    this.drawDiff()
    let text: string
    try { text = (await this.link.ask<{ text: string }>({ diff: request })).text || 'Nothing in the cluster changes.' } catch (e) { text = (e as Error).message }
    if (mine !== this.question) return
    this.shown = { title, text, go }
    this.drawDiff()
  }

  private drawDiff() {
    document.getElementById('diff')?.remove()
    const d = this.shown
    if (!d) return
    const box = el('section', { id: 'diff', ariaLabel: d.title })
    box.append(el('h2', { textContent: d.title }), coloured(d.text))
    const row = el('div', { className: 'row' }), close = el('button', { textContent: 'Close' })
    close.onclick = () => this.clearDiff()
    if (d.go) {
      const go = el('button', { textContent: 'Play it', className: 'go' })
      go.onclick = () => { this.clearDiff(); d.go!() }
      row.append(go)
    }
    row.append(close)
    box.append(row)
    this.pane.prepend(box)
    this.pane.scrollTop = 0
  }

  private module() {
    const id = this.selected
    if (!id) this.pane.append(el('p', { className: 'hint', textContent: 'Choose a module to see its text, and what it is in the cluster. Drag from jack to jack to patch; pull a cable at its plug.' }))
    else {
      this.pane.append(el('h2', { textContent: id }), el('p', { className: 'hint', textContent: this.model.plate(id).doc }))
      this.read()
    }
    this.drawDiff()
  }

  // read brings a module's text, once at a time, and leaves it alone where it is
  // the same: somebody may be reading it, or be about to write.
  private async read() {
    this.again = true
    if (this.reading) return
    this.reading = true
    while (this.again) {
      this.again = false
      const id = this.selected
      let r: { text: string; manifest?: string } | undefined, why = ''
      try { r = await this.link.ask({ yaml: { id } }) } catch (e) { why = (e as Error).message }
      if (this.selected !== id) { this.again = !!this.selected; continue }
      if (this.tab === 'module' && id && !this.edited) this.draw(id, r, why)
      if (this.again) await new Promise(ok => setTimeout(ok, 250)) // what it is in the cluster takes a program to tell
    }
    this.reading = false
  }

  private draw(id: string, r: { text: string; manifest?: string } | undefined, why: string) {
    const was = this.module_
    if (r && was?.id === id && was.text === r.text && was.manifest === r.manifest) return
    const old = this.pane.querySelector<HTMLTextAreaElement>('textarea.of-module'), pre = this.pane.querySelector('pre.of-module')
    if (r && was?.id === id && old && !!pre === !!r.manifest) {
      // The same boxes, so that nobody's place in them is lost.
      old.value = r.text
      if (pre) pre.textContent = r.manifest!
      this.module_ = { id, ...r }
      return
    }
    this.pane.querySelectorAll('.of-module').forEach(e => e.remove())
    if (!r) { this.module_ = undefined; this.pane.append(el('p', { className: 'of-module', textContent: why })); return }
    this.module_ = { id, ...r }
    const text = el('textarea', { className: 'of-module yaml', value: r.text, spellcheck: false, rows: Math.min(r.text.split('\n').length + 1, 24), ariaLabel: `YAML of ${id}` })
    const row = el('div', { className: 'of-module row' })
    const apply = el('button', { textContent: 'Apply' }), see = el('button', { textContent: 'What would change' }), gone = el('button', { textContent: 'Remove', className: 'risky' })
    text.oninput = () => { this.edited = text.value !== this.module_?.text }
    apply.onclick = () => this.link.ask({ yaml: { id, text: text.value } }).then(() => { this.edited = false; this.toast(`${id} applied`); this.read() }, e => this.toast(e.message))
    see.onclick = () => this.diff(`Applying ${id}`, { yaml: { id, text: text.value } })
    gone.onclick = () => {
      if (gone.dataset.sure) this.link.ask({ remove: { name: id } }).then(() => this.clearDiff(), e => this.toast(e.message))
      else { gone.dataset.sure = '1'; gone.textContent = 'Really remove'; this.diff(`Removing ${id}`, { remove: { name: id } }) }
    }
    row.append(apply, see, gone)
    this.pane.append(text, row)
    if (r.manifest) this.pane.append(el('h3', { className: 'of-module', textContent: 'In the cluster' }), el('pre', { className: 'of-module manifest', textContent: r.manifest, tabIndex: 0 }))
  }

  private add() {
    const search = el('input', { type: 'search', placeholder: 'Search modules', ariaLabel: 'Search modules' })
    const list = el('div', { className: 'browser' })
    this.pane.append(el('h2', { textContent: 'Modules' }))
    const draw = () => {
      const q = search.value.trim().toLowerCase()
      list.replaceChildren()
      const all = Object.values(this.model.specs.plates).filter(p => !q || [p.kind, p.title, p.doc, p.family].some(t => t.toLowerCase().includes(q)))
      all.sort((a, b) => a.family.localeCompare(b.family) || a.title.localeCompare(b.title))
      let family = ''
      for (const p of all) {
        if (p.family !== family) { family = p.family; list.append(el('h3', { textContent: family })) }
        const b = el('button', { className: 'kind', title: p.doc })
        b.style.setProperty('--accent', this.model.specs.families[p.family])
        b.append(el('strong', { textContent: p.title }), el('span', { textContent: ` ${p.hp} HP` }), el('small', { textContent: p.doc }))
        b.onclick = () => this.link.ask<{ id: string }>({ add: { kind: p.kind, ...this.free(p.hp) } }).then(r => { this.selected = r.id; this.toast(`${r.id} added`) }, e => this.toast(e.message))
        list.append(b)
      }
      if (!all.length) list.append(el('p', { className: 'hint', textContent: `There is no module like “${search.value}”.` }))
    }
    search.oninput = draw
    this.pane.append(search, list)
    draw()
  }

  // pods lists the bank. A pod keeps its line, so that a hand that is about to
  // kill one never meets another.
  pods() {
    if (this.tab !== 'pods') return
    let list = this.pane.querySelector<HTMLElement>('.pods')
    if (!list) this.pane.replaceChildren(list = el('div', { className: 'pods' }))
    const lines = new Map<string, HTMLElement>(), there = new Set(this.model.slots.map(s => s.pod))
    for (const e of [...list.children] as HTMLElement[]) {
      if (there.has(e.dataset.pod ?? '')) lines.set(e.dataset.pod!, e)
      else e.remove()
    }
    let before: Element | null = list.firstElementChild
    for (const s of this.model.slots) {
      let row = lines.get(s.pod)
      if (!row) {
        row = el('div')
        row.dataset.pod = s.pod
        const kill = el('button', { className: 'risky', textContent: 'Kill', ariaLabel: `Kill ${s.pod}` })
        kill.onclick = () => this.link.ask({ act: { name: `kill:${s.pod}` } }).catch(e => this.toast(e.message))
        row.append(el('strong', { textContent: s.pod }), el('span'), kill)
      }
      row.className = `pod phase-${s.phase.toLowerCase()}`
      row.querySelector('span')!.textContent = `${s.phase} · ${s.node || 'no node'} · ${Math.round(s.load)} m`
      if (row === before) before = before.nextElementSibling
      else list.insertBefore(row, before)
    }
    if (!this.model.slots.length) list.append(el('p', { className: 'hint', textContent: 'No pods yet.' }))
  }

  private log() {
    const list = el('div', { className: 'log', role: 'log', ariaLabel: 'What happens' })
    list.append(...this.model.log.map(line))
    this.pane.append(list)
    this.pane.scrollTop = this.pane.scrollHeight
  }
  logged(all: Line[]) {
    if (this.tab !== 'log') return
    const list = this.pane.querySelector('.log')
    if (!list) return
    const end = this.pane.scrollTop + this.pane.clientHeight > this.pane.scrollHeight - 40
    for (const l of all) list.append(line(l))
    while (list.childElementCount > 500) list.firstElementChild!.remove()
    if (end) this.pane.scrollTop = this.pane.scrollHeight
  }

  private async plots() {
    this.pane.append(el('h2', { textContent: 'Calibrations of this machine' }))
    try {
      const all = await this.link.ask<{ title: string; svg: string }[]>({ pictures: {} })
      if (this.tab !== 'plots') return
      for (const p of all ?? []) {
        const img = el('img', { alt: `Error in cents of ${p.title}, before and after`, src: 'data:image/svg+xml;charset=utf-8,' + encodeURIComponent(p.svg) })
        this.pane.append(el('h3', { textContent: p.title }), img)
      }
      if (!all?.length) this.pane.append(el('p', { className: 'hint', textContent: 'Nothing was calibrated here yet: k8s-synth calibrate --help.' }))
    } catch (e) { this.pane.append(el('p', { textContent: (e as Error).message })) }
  }
}

function line(l: Line): HTMLElement {
  const d = el('div', { className: `line kind-${l.kind}` })
  d.append(el('time', { textContent: new Date(l.time).toLocaleTimeString() }), el('b', { textContent: ` ${l.kind}/${l.name} ` }), el('span', { textContent: l.text }))
  return d
}

function coloured(diff: string): HTMLElement {
  const pre = el('pre', { className: 'diff', tabIndex: 0 })
  for (const l of diff.split('\n')) {
    const s = el('span', { textContent: l + '\n' })
    if (/^\+/.test(l)) s.className = 'plus'
    else if (/^-/.test(l)) s.className = 'minus'
    else if (/^@@/.test(l)) s.className = 'at'
    pre.append(s)
  }
  return pre
}
