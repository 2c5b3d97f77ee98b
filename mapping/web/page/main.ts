// The page: it keeps the rack on the screen in step with the one that plays.

import { HP, Model, ROW, type Specs } from './model'
import { Link, type Status } from './link'
import { Panel, type Desk } from './plate'
import { Wires, size, type Drag, type Trace } from './wires'
import { Side } from './side'
import { Stage } from './stage'
import { Sound } from './sound'
import { fingers } from './fingers'

const $ = <T extends HTMLElement>(id: string) => document.getElementById(id) as T

async function main() {
  const specs: Specs = await (await fetch('specs.json')).json()
  const model = new Model(specs), panels = new Map<string, Panel>(), sound = new Sound()
  const rack = $('rack'), scroll = $('scroll')
  let unit = Number(localStorage.getItem('unit')) || 3.1
  let learning = false, toastTimer = 0, born = ''

  const toast = (text: string) => {
    const t = $('toast')
    t.textContent = text
    t.hidden = false
    clearTimeout(toastTimer)
    toastTimer = window.setTimeout(() => { t.hidden = true }, 6000)
  }
  const wires = new Wires(model, scroll, $('lights'), $('cables'), $('hand'), $('levels'), () => unit)

  const link = new Link({
    hello: (c, version) => {
      model.client = c
      if (born && born !== version) location.reload() // its panels may be others
      born = version
    },
    state: s => {
      model.take(s)
      for (const [id, p] of panels) if (!model.modules.has(id)) { p.el.remove(); panels.delete(id) }
      for (const m of s.modules) {
        const p = panels.get(m.id)
        if (p) { p.module = m; p.place(); p.showAll() } else {
          const p = new Panel(desk, m)
          panels.set(m.id, p)
          rack.append(p.el)
        }
      }
      spread()
      $('empty').hidden = s.modules.length > 0
      const where = $('where')
      where.textContent = [s.own ? '' : `cluster ${s.cluster}`, s.listenOnly ? 'listening only' : ''].filter(Boolean).join(' · ')
      where.hidden = !where.textContent
      $('scene').textContent = s.title || s.scene
      document.title = `${s.scene} · k8s-synth`
      $('title').title = s.title || s.scene
      stage.relist()
      const undo = $<HTMLButtonElement>('undo'), redo = $<HTMLButtonElement>('redo')
      undo.disabled = !s.undo; undo.title = s.undo ? `Undo ${s.undo}` : 'Nothing to undo'
      redo.disabled = !s.redo; redo.title = s.redo ? `Redo ${s.redo}` : 'Nothing to redo'
      wires.rewire()
      side.refresh()
    },
    set: list => {
      for (const [a, v, source] of list) {
        if (a === '/scene/morph/position') { stage.moved(Number(v)); continue }
        const i = a.lastIndexOf('/'), id = a.slice(1, i), name = a.slice(i + 1), p = panels.get(id)
        if (source === model.client && p?.held.has(name)) continue // the hand is ahead
        const take = () => { model.values.set(a, v); panels.get(id)?.show(name) }
        const sent = model.sent.get(a)
        if (sent) {
          clearTimeout(sent.timer)
          if (source === model.client && v !== sent.value && performance.now() - sent.at < 400) {
            // An echo of what was asked for before that; unless it stays the last word.
            sent.timer = window.setTimeout(take, 400)
            continue
          }
          model.sent.delete(a)
        }
        take()
      }
    },
    event: list => {
      model.log.push(...list)
      if (model.log.length > 500) model.log.splice(0, model.log.length - 500)
      side.logged(list)
      if (!ticks) tick()
    },
    status: s => { model.status = s; status(s) },
    slots: s => { model.slots = s; side.pods() },
    meters: (frame, peaks, volts) => {
      model.frame = frame
      wires.hear(peaks, volts)
    },
    error: toast,
    away: (gone, why) => {
      const a = $('away')
      a.hidden = !gone
      a.textContent = why ?? 'The instrument does not answer. The page goes on as soon as it is back.'
      if (gone) { $('state').textContent = 'away'; $('state').dataset.word = 'no-answer'; said = '' }
    },
  })

  const desk: Desk = {
    model, link, toast,
    unit: () => unit,
    select: id => {
      for (const [k, p] of panels) p.el.classList.toggle('selected', k === id)
      wires.hovered = undefined
      side.select(id)
    },
    tip: (e, text) => {
      const t = $('tip')
      t.hidden = !e || !text
      if (!e || !text) return
      t.textContent = text
      const b = e.getBoundingClientRect(), d = $('desk').getBoundingClientRect(), tb = t.getBoundingClientRect()
      t.style.left = `${Math.min(Math.max(b.left + b.width / 2 - d.left - tb.width / 2, 4), d.width - tb.width - 4)}px`
      t.style.top = `${b.top - d.top > tb.height + 10 ? b.top - d.top - tb.height - 8 : b.bottom - d.top + 8}px`
    },
    redraw: () => wires.redraw(),
    learning: () => learning,
    learn: address => { act(`learn:${address}`); setLearning(false); toast(`Move a control for ${address}`) },
    jack: (e, jack, out) => pick(e, jack, out),
    stopPan: () => pan.stop(),
    fingers: () => pan.count,
    taken: (id, row, hp) => {
      const wide = model.plate(id).hp
      return [...model.modules.values()].find(m => m.id !== id && m.row === row && m.hp < hp + wide && hp < m.hp + model.plate(m.id).hp)?.id
    },
  }
  const side = new Side(model, link, $('tabs'), $('pane'), toast, hp => {
    // The first place that is free in the rows that are in sight.
    const row0 = Math.max(Math.round(scroll.scrollTop / (ROW * unit)), 0)
    for (let row = row0; ; row++) {
      for (let at = 0; at + hp <= 168; at++) {
        if (![...model.modules.values()].some(m => m.row === row && m.hp < at + hp && at < m.hp + model.plate(m.id).hp)) return { row, hp: at }
      }
    }
  })

  const stage = side.stage = new Stage(model, link, $('deck'), $('cue'), toast, (scene, play) => {
    setAside(true, false)
    side.open('scenes')
    side.diff(`Playing ${scene}`, { scene: { name: scene } }, play)
  })
  const act = (name: string) => link.ask({ act: { name } }).catch(e => toast(e.message))

  // Patching: with the pointer by dragging, with the keyboard by choosing one
  // jack and then the other.
  let chosen: { jack: string; out: boolean } | undefined
  function mark(out: boolean | undefined) {
    rack.classList.toggle('wants-input', out === true)
    rack.classList.toggle('wants-output', out === false)
  }
  function connect(a: string, aOut: boolean, b: string, bOut: boolean) {
    if (aOut === bOut) return toast('A cable goes from an output to an input.')
    const cable = aOut ? { from: a, to: b } : { from: b, to: a }
    if (model.cables.some(c => c.from === cable.from && c.to === cable.to)) return
    patch(cable, [])
  }
  // patch plugs a cable in. What is in its input comes out, and so do others that
  // are named: all of it or nothing.
  function patch(cable: { from: string; to: string }, pull: string[]) {
    if (model.cableInto(cable.to) && !pull.includes(cable.to)) pull = [...pull, cable.to]
    link.ask(pull.length ? { repatch: { ...cable, pull } } : { plug: cable }).catch(e => toast(e.message))
  }
  function pick(e: PointerEvent | KeyboardEvent, jack: string, out: boolean) {
    if (learning) return desk.learn('/' + jack)
    if (e instanceof KeyboardEvent) {
      if (!chosen) {
        const there = !out && model.cableInto(jack)
        if (there) { link.ask({ pull: { to: jack } }).catch(e => toast(e.message)); toast(`pulled ${there.from} → ${jack}`); return }
        chosen = { jack, out }
        mark(out)
        toast(`From ${jack}: choose an ${out ? 'input' : 'output'} and press Enter; Escape lets go.`)
      } else {
        connect(chosen.jack, chosen.out, jack, out)
        chosen = undefined
        mark(undefined)
      }
      return
    }
    if (e.button !== 0) return
    e.preventDefault()
    const there = !out ? model.cableInto(jack) : undefined
    const fixed = there ? there.from : jack, fixedOut = there ? true : out
    const id = e.pointerId
    const drag: Drag = { fixed, out: fixedOut, x: e.clientX, y: e.clientY, pulled: there?.to }
    wires.drags.set(id, drag)
    desk.tip(null)
    // about says what letting go here would do.
    let asked: string | undefined = ''
    const about = (over?: string) => {
      if (over === there?.to) over = undefined // as if it came out, as it does on the way to anywhere else
      if (over === asked) return
      asked = over
      const cluster = (jack: string) => specs.cluster[jack.split('/')[0]]
      if (!over) return there?.cluster ? side.hover(`Pulling ${there.from} → ${there.to}`, { pull: { to: there.to } }) : side.hover()
      const cable = fixedOut ? { from: fixed, to: over } : { from: over, to: fixed }
      const out = [there?.to, model.cableInto(cable.to)?.to].filter((j, i, all): j is string => !!j && all.indexOf(j) === i)
      if (!there?.cluster && !(cluster(cable.from) && cluster(cable.to)) && !model.cables.some(c => c.cluster && out.includes(c.to))) return side.hover()
      side.hover(`Plugging ${cable.from} → ${cable.to}`, out.length ? { repatch: { ...cable, pull: out } } : { plug: cable })
    }
    about()
    const under = (e: PointerEvent) => {
      // A finger need not hit the middle.
      return wires.near(e.clientX, e.clientY, !fixedOut, e.pointerType === 'touch' ? 16 : 3)
    }
    const move = (e: PointerEvent) => {
      if (e.pointerId !== id) return
      const over = under(e)
      Object.assign(drag, { x: e.clientX, y: e.clientY, over })
      wires.blink()
      about(over)
    }
    const up = (e: PointerEvent) => {
      if (e.pointerId !== id) return
      removeEventListener('pointermove', move)
      removeEventListener('pointerup', up)
      removeEventListener('pointercancel', up)
      const to = e.type === 'pointerup' ? under(e) : there?.to
      wires.drags.delete(id)
      side.clearDiff()
      if (there) {
        if (!to || model.cables.some(c => c.from === fixed && c.to === to && to !== there.to)) link.ask({ pull: { to: there.to } }).catch(e => toast(e.message))
        else if (to !== there.to) patch({ from: fixed, to }, [there.to])
      } else if (to) connect(fixed, fixedOut, to, !fixedOut)
      wires.redraw()
    }
    addEventListener('pointermove', move)
    addEventListener('pointerup', up)
    addEventListener('pointercancel', up)
    wires.redraw()
  }

  // tick shows the last line, five times a second at most: nobody reads more, and
  // each of another length makes the browser put the page together anew.
  let ticks = 0
  function tick() {
    ticks = 0
    const l = model.log[model.log.length - 1], t = $('ticker'), text = l && `${l.kind}/${l.name}  ${l.text}`
    if (!l || t.textContent === text && t.className === `kind-${l.kind}`) return
    t.textContent = text
    t.className = `kind-${l.kind}`
    ticks = window.setTimeout(tick, 200)
  }

  let said = '', spoken = '', speaks = 0
  function status(s: Status) {
    const c = s.cluster
    const word = s.lost ? 'no device' : s.silenced ? 'silenced' : !c.reachable && c.boot && c.boot !== 'ready' ? `booting: ${c.boot}` : !c.synced ? 'no answer' : c.ready === c.desired ? 'converged' : 'converging'
    const state = $('state'), text = `${word} · ${c.ready}/${c.desired} pods`
    if (text !== said) {
      said = text
      state.textContent = text
      state.dataset.word = word.split(':')[0].replace(' ', '-')
    }
    // A screen reader is told what has come to rest, not every pod on the way.
    if (text !== spoken && !speaks) speaks = window.setTimeout(() => { speaks = 0; if (said !== spoken) $('said').textContent = spoken = said }, 2500)
    const figures = `${s.tempo ? `${s.tempo.toFixed(0)} BPM · ` : ''}render ${(100 * s.load).toFixed(0)} % · ${s.lost ? 'no device' : s.device}${s.underruns ? ` · ${s.underruns} underruns` : ''}${sound.on ? ` · ${(1000 * sound.latency).toFixed(0)} ms here` : ''}`
    if ($('figures').textContent !== figures) $('figures').textContent = $('figures').title = figures
    if (learning !== !!s.learns && !s.learns) setLearning(false)
    $('resume').hidden = !s.silenced
    stage.tell(s)
    const t = s.take, take = $('take')
    take.hidden = !t
    if (t) {
      const sec = Math.floor(t.seconds), text = `take ${sec < 3600 ? '' : `${Math.floor(sec / 3600)}:`}${String(Math.floor(sec / 60) % 60).padStart(2, '0')}:${String(sec % 60).padStart(2, '0')}`
      if (take.textContent !== text) take.textContent = text
      take.title = `This performance is recorded to ${t.file}`
    }
    wires.blink()
  }

  let spreads = ''
  function spread() {
    const [w, h] = size(model), now = `${w} ${h} ${unit}`
    // All that is in the rack would be styled anew, also for what it has already.
    if (now === spreads) return
    spreads = now
    Object.assign(rack.style, { width: `${w * unit}px`, height: `${h * unit + 40}px` })
    rack.style.setProperty('--row', `${ROW * unit}px`)
    rack.style.setProperty('--hp', `${HP * unit}px`)
  }

  function setLearning(on: boolean) {
    learning = on
    $('learn').setAttribute('aria-pressed', String(on))
    document.body.classList.toggle('learning', on)
  }
  // zoom keeps what is under a place where it is; without one, the middle.
  function zoom(f: number, x?: number, y?: number) {
    const before = unit, box = scroll.getBoundingClientRect()
    unit = Math.min(Math.max(unit * f, 1.2), 8)
    if (unit === before) return
    localStorage.setItem('unit', String(unit))
    const px = x === undefined ? scroll.clientWidth / 2 : x - box.left, py = y === undefined ? scroll.clientHeight / 2 : y - box.top
    const cx = scroll.scrollLeft + px, cy = scroll.scrollTop + py
    for (const p of panels.values()) p.place()
    spread()
    scroll.scrollTo(cx * unit / before - px, cy * unit / before - py)
    wires.redraw()
  }
  const pan = fingers(scroll, zoom)
  function setStage(on: boolean) {
    document.body.classList.toggle('fp-stage', on)
    $('stage').setAttribute('aria-pressed', String(on))
    localStorage.setItem('stage', on ? '1' : '')
    // On a stage the rack has the whole width.
    setAside(!on && localStorage.getItem('side') !== 'off' && innerWidth > 700, false)
    wires.redraw()
  }
  function setAside(on: boolean, keep = true) {
    document.body.classList.toggle('no-side', !on)
    $('aside').setAttribute('aria-pressed', String(on))
    if (keep) localStorage.setItem('side', on ? '' : 'off')
  }

  $('undo').onclick = () => act('undo')
  $('redo').onclick = () => act('redo')
  $('first').onclick = () => { setAside(true); side.open('add') }
  $('panic').onclick = () => act('panic')
  $('resume').onclick = () => act('resume')
  $('arm').onclick = () => { act('arm'); toast('Armed for ten seconds.') }
  $('save').onclick = () => link.ask<{ path: string }>({ save: { name: '' } }).then(r => toast(`saved to ${r.path}`), e => toast(e.message))
  $('learn').onclick = () => { if (learning) act('learn:cancel'); setLearning(!learning); if (learning) toast('Choose a knob, then move the control that is to turn it.') }
  $('listen').onclick = async () => {
    try {
      if (sound.on) sound.stop()
      else await sound.start(model.state?.rate ?? 48000)
    } catch (e) { toast((e as Error).message) }
    $('listen').setAttribute('aria-pressed', String(sound.on))
  }
  addEventListener('pagehide', () => { sound.stop(); $('listen').setAttribute('aria-pressed', 'false') })
  $('larger').onclick = () => zoom(1.2)
  $('smaller').onclick = () => zoom(1 / 1.2)
  $('stage').onclick = () => setStage(!document.body.classList.contains('fp-stage'))
  $('aside').onclick = () => setAside(document.body.classList.contains('no-side'))
  setStage(!!localStorage.getItem('stage'))

  let escaped = 0
  addEventListener('keydown', e => {
    const typing = e.target instanceof HTMLInputElement && !/radio|range/.test(e.target.type) || e.target instanceof HTMLTextAreaElement
    if ((e.ctrlKey || e.metaKey) && !e.altKey) {
      const k = e.key.toLowerCase()
      if (k === 'z' && !typing) { e.preventDefault(); act(e.shiftKey ? 'redo' : 'undo') }
      else if (k === 'y' && !typing) { e.preventDefault(); act('redo') }
      else if (k === 's') { e.preventDefault(); $('save').click() }
      else if (k === '+' || k === '=') { e.preventDefault(); zoom(1.2) }
      else if (k === '-') { e.preventDefault(); zoom(1 / 1.2) }
    } else if (e.key === 'Escape') {
      if (chosen) { chosen = undefined; mark(undefined) }
      if (learning) { act('learn:cancel'); setLearning(false) }
      if (e.timeStamp - escaped < 600) act('panic')
      escaped = e.timeStamp
    }
  })
  scroll.addEventListener('wheel', e => { if (e.ctrlKey) { e.preventDefault(); zoom(Math.exp(-Math.min(Math.max(e.deltaY, -40), 40) / 300), e.clientX, e.clientY) } }, { passive: false })
  rack.addEventListener('pointerover', e => {
    const m = (e.target as Element).closest<HTMLElement>('.module.selected')
    const id = m?.dataset.id
    if (wires.hovered !== id) { wires.hovered = id; wires.redraw() }
  })

  // Scopes: the next pictures are asked for when the last ones came, and lamps
  // and scopes are drawn together.
  const look = async () => {
    const began = performance.now()
    if (!document.hidden) {
      await Promise.all(wires.seen().map(s => link.ask<Trace>({ scope: s }).then(t => { wires.traces.set(s.name, t) }, () => { /* it is gone, or the instrument is */ })))
    }
    setTimeout(look, Math.max(wires.every - (performance.now() - began), 0))
  }
  look()

  ;(window as any).rackTest = { model, wires, link, sound, panels, get unit() { return unit }, HP, drawn: () => [...panels.values()].every(p => p.drawn) }
}

main().catch(e => {
  const a = $('away')
  a.textContent = `The rack cannot be shown: ${e.message}`
  a.hidden = false
})
