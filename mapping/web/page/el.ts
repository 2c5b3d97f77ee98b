// Elements.

export function el<K extends keyof HTMLElementTagNameMap>(tag: K, set: Partial<HTMLElementTagNameMap[K]> & { role?: string; ariaLabel?: string; key?: string } = {}): HTMLElementTagNameMap[K] {
  const e = document.createElement(tag)
  const { role, ariaLabel, key, ...rest } = set as any
  Object.assign(e, rest)
  if (role) e.setAttribute('role', role)
  if (ariaLabel) e.setAttribute('aria-label', ariaLabel)
  if (key) e.dataset.key = key
  return e
}

// wheelUp tells whether a wheel is turned up, or a pad stroked up or right. With
// Shift browsers make a wheel of one that goes sideways: up is left then.
export function wheelUp(e: WheelEvent): boolean {
  return e.deltaY ? e.deltaY < 0 : e.shiftKey ? e.deltaX < 0 : e.deltaX > 0
}

// refill gives an element other children. What had the focus has it again, if
// there is something with the same key.
export function refill(e: HTMLElement, ...children: HTMLElement[]) {
  const a = document.activeElement as HTMLElement | null, key = a && e.contains(a) ? a.dataset.key : undefined
  e.replaceChildren(...children)
  if (key) [...e.querySelectorAll<HTMLElement>('[data-key]')].find(c => c.dataset.key === key)?.focus({ preventScroll: true })
}
