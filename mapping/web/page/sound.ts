// Sound in the browser: what the instrument plays, with as little latency as
// the network allows.

// Heard is what the audio thread tells of itself.
export interface Told { waits: number; gaps: number; lost: number; skipped: number; speed: number; frame: number; at: number }

export class Sound {
  context?: AudioContext
  node?: AudioWorkletNode
  private worker?: Worker
  told?: Told

  async start(rate: number) {
    if (this.context) return
    // A tablet that is told to be silent is silent for what plays along with other
    // sound, and not for what is played back.
    const session = (navigator as { audioSession?: { type: string } }).audioSession
    if (session) session.type = 'playback'
    const c = this.context = new AudioContext({ sampleRate: rate, latencyHint: 'interactive' })
    try {
      // It is within the press, which Safari asks for, and goes on when all is there.
      const runs = c.resume()
      runs.catch(() => { /* it is told below */ })
      await c.audioWorklet.addModule('sound-worklet.js')
      this.node = new AudioWorkletNode(c, 'k8s-synth', { numberOfInputs: 0, outputChannelCount: [2], processorOptions: { rate } })
      this.node.port.onmessage = e => { this.told = e.data }
      this.node.connect(c.destination)
      const way = new MessageChannel()
      this.node.port.postMessage({ way: way.port1 }, [way.port1])
      this.worker = new Worker('sound-worker.js', { type: 'module' })
      this.worker.postMessage({ player: way.port2, url: `${location.protocol === 'https:' ? 'wss:' : 'ws:'}//${location.host}/ws?sound` }, [way.port2])
      await runs
    } catch (e) {
      this.stop()
      throw new Error(`this browser plays no sound here: ${(e as Error).message}`)
    }
  }

  // latency is how long ago what is heard now came, in seconds.
  get latency() { const c = this.context; return c ? (this.told?.waits ?? 0) + (c.baseLatency || 0) + (c.outputLatency || 0) : 0 }

  get on() { return !!this.context }

  stop() {
    this.worker?.terminate()
    this.node?.disconnect()
    this.context?.close()
    this.node = this.context = this.told = this.worker = undefined
  }
}
