// The connection to the instrument: what is asked, what is told, and coming
// back when it was lost.

export interface Module { id: string; row: number; hp: number; params: Record<string, number>; text: Record<string, string> }
export interface Cable { from: string; to: string; sensed?: boolean; cluster?: boolean }
export interface SceneInfo { name: string; title: string; about?: string; slot?: number }
export interface State {
  revision: number; scene: string; title: string; rate: number
  modules: Module[]; cables: Cable[]; outputs: string[]; scenes: SceneInfo[] | null
  setLists?: SceneInfo[]; undo?: string; redo?: string; cluster: string; own: boolean; listenOnly?: boolean
}
export interface Line { time: number; kind: string; name: string; text: string }
export interface Slot { pod: string; owner: string; phase: string; node: string; load: number }
export interface Status {
  cluster: { reachable: boolean; synced: boolean; boot?: string; ready: number; desired: number; pods: number; nodes: number; revision: number }
  tempo: number; seconds: number; load: number; loadPeak: number; underruns: number; late: number; backend: string; device: string; lost: boolean; latency: number
  takeovers: { port: string; control: string; address: string; have: number; want: number }[] | null
  learns: string; pages: number; silenced?: boolean // by a panic, until somebody resumes
  waiting?: { scene: string; title: string; for: string; crossfade: number; in: number } | null // in: s until it is heard
  morph?: { from: string; to: string; position: number; cut: number; seconds: number; back?: boolean; held?: boolean } | null
  setList?: { name: string; title: string; scenes: string[]; entry: number; note?: string; next?: string } | null // entry: that plays, from 1
  take?: { file: string; seconds: number } | null // is being recorded
}

export interface Heard {
  hello(client: string, version: string): void
  state(s: State): void
  set(list: [string, number | string, string][]): void
  event(list: Line[]): void
  status(s: Status): void
  slots(s: Slot[]): void
  meters(frame: number, peaks: Float32Array<ArrayBuffer>, volts: Float32Array<ArrayBuffer>): void
  error(text: string): void
  away(gone: boolean, why?: string): void
}

export class Link {
  private ws?: WebSocket
  private next = 1
  private waits = new Map<number, { ok: (v: any) => void; no: (e: Error) => void }>()
  private delay = 250
  private left = false

  constructor(private heard: Heard) {
    this.open()
    // A page that the browser keeps for going back to must not be played to.
    addEventListener('pagehide', () => { this.left = true; this.ws?.close() })
    addEventListener('pageshow', e => { if (e.persisted) { this.left = false; this.open() } })
  }

  private open() {
    const ws = new WebSocket((location.protocol === 'https:' ? 'wss://' : 'ws://') + location.host + '/ws')
    ws.binaryType = 'arraybuffer'
    this.ws = ws
    ws.onopen = () => {
      this.delay = 250
      this.heard.away(false)
    }
    ws.onmessage = e => typeof e.data === 'string' ? this.text(JSON.parse(e.data)) : this.binary(e.data as ArrayBuffer)
    ws.onclose = () => {
      for (const w of this.waits.values()) w.no(new Error('the instrument does not answer'))
      this.waits.clear()
      if (this.left || this.ws !== ws) return
      this.heard.away(true)
      this.knock()
      setTimeout(() => this.open(), this.delay)
      this.delay = Math.min(this.delay * 2, 3000)
    }
  }

  // knock asks at the door whether it is the token that is wrong: a WebSocket
  // does not say why it was refused.
  private async knock() {
    try {
      const r = await fetch('specs.json', { method: 'HEAD', cache: 'no-store' })
      if (r.status === 401) this.heard.away(true, 'The instrument has another token now. Open the address that it printed, or that “k8s-synth status” shows.')
    } catch { /* nobody is there */ }
  }

  private text(m: any) {
    const h = this.heard
    if (m.hello) h.hello(m.hello.client, m.hello.version)
    if (m.state) h.state(m.state)
    if (m.set) h.set(m.set)
    if (m.event) h.event(m.event)
    if (m.status) h.status(m.status)
    if (m.slots) h.slots(m.slots)
    if (m.reply) {
      const w = this.waits.get(m.reply.id)
      this.waits.delete(m.reply.id)
      if (m.reply.error) w ? w.no(new Error(m.reply.error)) : h.error(m.reply.error)
      else w?.ok(m.reply.result)
    }
  }

  private binary(b: ArrayBuffer) {
    const v = new DataView(b), frame = v.getFloat64(4, true)
    if (v.getUint8(0) === 1) this.heard.meters(frame, new Float32Array(b, 12, 2), new Float32Array(b, 20))
  }

  // send asks for something that wants no answer, such as a knob that moves.
  send(r: object) {
    if (this.ws?.readyState === WebSocket.OPEN) this.ws.send(JSON.stringify(r))
  }

  // ask asks and waits for the answer; an error is what the instrument says.
  ask<T = any>(r: object): Promise<T> {
    return new Promise((ok, no) => {
      if (this.ws?.readyState !== WebSocket.OPEN) return no(new Error('the instrument does not answer'))
      const id = this.next++
      this.waits.set(id, { ok, no })
      this.ws.send(JSON.stringify({ id, ...r }))
    })
  }
}
