// A row of a table and what it speaks of on the panel light up together.
for (const row of document.querySelectorAll('tr[data-for]')) {
  const parts = row.dataset.for.split(' ').flatMap(id => [document.getElementById(id)]).filter(Boolean)
  const light = on => {
    row.classList.toggle('pointed', on)
    for (const p of parts) p.classList.toggle('pointed', on)
  }
  row.addEventListener('pointerenter', () => light(true))
  row.addEventListener('pointerleave', () => light(false))
  for (const p of parts) {
    p.addEventListener('pointerenter', () => light(true))
    p.addEventListener('pointerleave', () => light(false))
  }
}
