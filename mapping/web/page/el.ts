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

// refill gives an element other children. What had the focus has it again, if
// there is something with the same key.
export function refill(e: HTMLElement, ...children: HTMLElement[]) {
  const a = document.activeElement as HTMLElement | null, key = a && e.contains(a) ? a.dataset.key : undefined
  e.replaceChildren(...children)
  if (key) [...e.querySelectorAll<HTMLElement>('[data-key]')].find(c => c.dataset.key === key)?.focus({ preventScroll: true })
}
