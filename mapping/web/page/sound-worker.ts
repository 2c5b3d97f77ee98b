// The way of the sound from the instrument to the audio thread of the browser:
// a connection of its own on a thread of its own, so that nothing that the page
// draws makes it late.

const scope = self as unknown as { onmessage: ((e: MessageEvent<{ player: MessagePort; url: string }>) => void) | null }

scope.onmessage = e => {
  const { player, url } = e.data
  const open = () => {
    const ws = new WebSocket(url)
    ws.binaryType = 'arraybuffer'
    ws.onopen = () => ws.send(JSON.stringify({ listen: true }))
    ws.onmessage = e => {
      if (typeof e.data === 'string') return
      const b = e.data as ArrayBuffer, v = new DataView(b)
      if (v.getUint8(0) === 2) player.postMessage({ frame: v.getFloat64(4, true), pcm: new Int16Array(b, 12) }, [b])
    }
    ws.onclose = () => { setTimeout(open, 500) }
  }
  open()
}
