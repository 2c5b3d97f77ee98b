// Fingers on the desk: one pans, with some way on when it lets go, two zoom.
// Those on a knob, a jack or a button are theirs and never come here.

export interface Fingers { stop(): void; readonly count: number }

export function fingers(scroll: HTMLElement, zoom: (factor: number, x: number, y: number) => void): Fingers {
  const down = new Map<number, { x: number; y: number }>()
  let vx = 0, vy = 0, at = 0, coasting = 0
  const middle = () => {
    const all = [...down.values()], x = all.reduce((s, p) => s + p.x, 0) / all.length, y = all.reduce((s, p) => s + p.y, 0) / all.length
    return { x, y, spread: all.length > 1 ? Math.hypot(all[0].x - all[1].x, all[0].y - all[1].y) : 0 }
  }
  const coast = () => {
    scroll.scrollBy(-vx, -vy)
    vx *= 0.94; vy *= 0.94
    coasting = Math.hypot(vx, vy) > 0.4 ? requestAnimationFrame(coast) : 0
  }
  const stop = () => { cancelAnimationFrame(coasting); coasting = 0; vx = vy = 0 }
  scroll.addEventListener('pointerdown', e => {
    // A pencil is held as a mouse is.
    const bare = e.pointerType !== 'touch' && (e.button === 1 || e.button === 0 && !(e.target as Element).closest('.module'))
    if (e.pointerType !== 'touch' && !bare) return
    stop()
    down.set(e.pointerId, { x: e.clientX, y: e.clientY })
    if (bare) { e.preventDefault(); scroll.setPointerCapture(e.pointerId) }
  })
  addEventListener('pointermove', e => {
    const p = down.get(e.pointerId)
    if (!p) return
    const a = middle()
    p.x = e.clientX; p.y = e.clientY
    const b = middle(), dx = b.x - a.x, dy = b.y - a.y
    scroll.scrollBy(-dx, -dy)
    if (a.spread > 20 && b.spread > 20) zoom(b.spread / a.spread, b.x, b.y)
    const dt = Math.max(e.timeStamp - at, 1)
    at = e.timeStamp
    if (down.size === 1) { vx = 0.6 * vx + 0.4 * dx * 16 / dt; vy = 0.6 * vy + 0.4 * dy * 16 / dt } else vx = vy = 0
  })
  const up = (e: PointerEvent) => {
    if (!down.delete(e.pointerId) || down.size) return
    if (e.type === 'pointerup' && e.pointerType === 'touch' && e.timeStamp - at < 60 && Math.hypot(vx, vy) > 2) coast()
  }
  addEventListener('pointerup', up)
  addEventListener('pointercancel', up)
  // A module that is dragged takes its finger with it.
  return { stop() { stop(); down.clear() }, get count() { return down.size } }
}
