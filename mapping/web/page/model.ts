// What the page knows of the rack: the state as it was told, and the values
// that moved since.

import type { Cable, Module, SceneInfo, State, Status, Slot, Line } from './link'

export interface Control {
  id: string; part: string; name: string; x: number; y: number; w: number; h: number; with?: string; signal?: string; poly?: boolean; doc?: string
  min?: number; max?: number; value?: number; unit?: string; exponential?: boolean; whole?: boolean; choices?: string[]; text?: string
}
export interface Plate { kind: string; title: string; doc: string; family: string; hp: number; width: number; height: number; controls: Control[] }
export interface Specs { plates: Record<string, Plate>; signals: Record<string, string>; families: Record<string, string>; cluster: Record<string, boolean> }

export const HP = 5.08, ROW = 133.35, PANEL = 128.5

export class Model {
  state?: State
  status?: Status
  slots: Slot[] = []
  log: Line[] = []
  client = ''
  values = new Map<string, number | string>() // by address
  sent = new Map<string, { value: number | string; at: number; timer: number }>() // what this page asked for last, by address
  output = new Map<string, number>() // index into volts, by address
  volts = new Float32Array(0)
  peaks = new Float32Array(2)
  frame = 0
  cables: Cable[] = []
  modules = new Map<string, Module>()
  scenes: SceneInfo[] = []
  moved?: { id: string; x: number; y: number } // a module in a hand, and how far it is from its place

  constructor(readonly specs: Specs) {}

  take(s: State) {
    this.state = s
    this.modules = new Map(s.modules.map(m => [m.id, m]))
    this.cables = s.cables
    if (s.scenes) this.scenes = s.scenes
    this.values.clear()
    for (const m of s.modules) {
      for (const k in m.params) this.values.set(`/${m.id}/${k}`, m.params[k])
      for (const k in m.text) this.values.set(`/${m.id}/${k}`, m.text[k])
    }
    this.output = new Map(s.outputs.map((a, i) => [a, i]))
    if (this.volts.length !== s.outputs.length) this.volts = new Float32Array(s.outputs.length)
  }

  plate(id: string): Plate { return this.specs.plates[id.slice(0, id.indexOf('/'))] }
  control(jack: string): { module: Module; plate: Plate; control: Control } | undefined {
    const i = jack.lastIndexOf('/'), module = this.modules.get(jack.slice(0, i))
    if (!module) return
    const plate = this.plate(module.id), name = jack.slice(i + 1)
    const control = plate.controls.find(c => c.name === name && (c.part === 'input' || c.part === 'output'))
    return control && { module, plate, control }
  }
  // at is the middle of a jack, in millimetres from the corner of the rack.
  at(jack: string): [number, number] | undefined {
    const j = this.control(jack)
    if (!j) return
    const [x, y] = this.away(j.module.id)
    return [j.module.hp * HP + j.control.x + x, j.module.row * ROW + j.control.y + y]
  }
  // away is how far a module is from its place, because a hand moves it.
  away(id: string): [number, number] { return this.moved?.id === id ? [this.moved.x, this.moved.y] : [0, 0] }
  cableInto(input: string) { return this.cables.find(c => c.to === input) }
  level(address: string) { const i = this.output.get(address); return i === undefined ? 0 : this.volts[i] }
}

// travel is where in its travel, 0…1, a value stands, and value the other way.
export function travel(c: Control, v: number): number {
  const lo = c.min ?? 0, hi = c.max ?? 0
  if (hi === lo) return 0
  const t = c.exponential && lo > 0 ? Math.log(v / lo) / Math.log(hi / lo) : (v - lo) / (hi - lo)
  return Math.min(Math.max(t, 0), 1)
}
export function value(c: Control, t: number): number {
  const lo = c.min ?? 0, hi = c.max ?? 0
  t = Math.min(Math.max(t, 0), 1)
  let v = c.exponential && lo > 0 ? lo * Math.pow(hi / lo, t) : lo + t * (hi - lo)
  if (c.whole || c.choices) v = Math.round(v)
  return Math.min(Math.max(v, lo), hi)
}
export function clamp(c: Control, v: number): number {
  if (c.whole || c.choices) v = Math.round(v)
  return Math.min(Math.max(v, c.min ?? 0), c.max ?? 0)
}

// words says a value as a panel would: four digits, its unit, or its choice.
export function words(c: Control, v: number | string | undefined): string {
  if (v === undefined) return ''
  if (typeof v === 'string') return v || '–'
  if (c.choices) return c.choices[Math.round(v)] ?? String(v)
  const a = Math.abs(v), n = c.whole ? String(Math.round(v)) : a >= 100 ? v.toFixed(0) : a >= 10 ? v.toFixed(1) : a >= 1 ? v.toFixed(2) : v.toFixed(3)
  return c.unit ? `${n} ${c.unit}` : n
}
