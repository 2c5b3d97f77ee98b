// Sounds: one plays at a time, a line runs over its score, and a click there
// goes to that place. A sound that is made on demand is asked for by a button;
// whoever leaves the page, or plays another, calls that off.
const all = [...document.querySelectorAll('.sounding')]
const still = matchMedia('(prefers-reduced-motion: reduce)')
let asked // what is being made for us

const quiet = but => {
  for (const a of document.querySelectorAll('audio')) if (a !== but) a.pause()
}

// A page that is left may be kept to go back to, with all that it waits for.
addEventListener('pagehide', () => asked?.abort())

for (const box of all) {
  const audio = box.querySelector('audio')
  const piece = box.closest('.piece, .player')
  const heads = () => piece.querySelectorAll('.playhead')
  const ready = () => piece.classList.add('heard')
  const at = seconds => {
    for (const h of heads()) {
      const d = h.dataset
      h.setAttribute('transform', `translate(${+d.from + (d.to - d.from) * Math.min(1, seconds / d.seconds)} 0)`)
    }
  }
  const run = () => {
    at(audio.currentTime)
    if (!audio.paused && !still.matches) requestAnimationFrame(run)
  }
  audio.addEventListener('play', () => { quiet(audio); piece.classList.add('heard-now'); run() })
  audio.addEventListener('timeupdate', () => at(audio.currentTime))
  audio.addEventListener('seeking', () => { piece.classList.add('heard-now'); at(audio.currentTime) })
  audio.addEventListener('ended', () => piece.classList.remove('heard-now'))
  piece.addEventListener('click', e => {
    const fig = e.target.closest('.fig')
    const head = fig?.querySelector('.playhead')
    if (!head || audio.hidden) return
    const from = fig.getBoundingClientRect(), d = head.dataset
    const x = (e.clientX - from.left) / from.width * fig.viewBox.baseVal.width
    const to = (x - d.from) / (d.to - d.from) * d.seconds
    const go = () => { audio.currentTime = Math.max(0, Math.min(to, audio.duration - 0.05)) }
    if (audio.readyState > 0) go()
    else { audio.addEventListener('loadedmetadata', go, {once: true}); audio.preload = 'metadata'; audio.load() }
    audio.play().catch(() => {})
  })
  if (!box.dataset.progress) { ready(); continue }

  // It is made when somebody asks.
  const src = audio.getAttribute('src')
  const name = piece.querySelector('h2, figcaption strong').textContent
  const button = document.createElement('button')
  const bar = document.createElement('progress')
  const words = document.createElement('span')
  button.type = 'button'
  button.className = 'button'
  words.setAttribute('role', 'status')
  bar.max = 1
  bar.setAttribute('aria-label', 'Rendering ' + name)
  const row = document.createElement('p')
  row.className = 'making'
  row.append(button, bar, words)
  audio.before(row)
  audio.hidden = true
  audio.removeAttribute('src')
  const rest = text => {
    button.textContent = 'Render and play'
    button.setAttribute('aria-label', 'Render and play ' + name)
    bar.hidden = true
    words.textContent = text
  }
  rest('')
  button.addEventListener('click', async () => {
    if (asked) {
      const mine = asked.box === box
      asked.abort()
      if (mine) return
    }
    const call = asked = new AbortController()
    call.box = box
    quiet()
    button.textContent = 'Stop'
    button.setAttribute('aria-label', 'Stop rendering ' + name)
    bar.hidden = false
    bar.removeAttribute('value')
    words.textContent = ''
    let why = 'The instrument does not answer.'
    try {
      const answer = await fetch(box.dataset.progress, {signal: call.signal})
      if (!answer.ok) throw new Error(await answer.text())
      let text = '', last = {}
      for (const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader(); ;) {
        const {done, value} = await reader.read()
        if (done) break
        text += value
        const lines = text.split('\n')
        text = lines.pop()
        for (const l of lines) last = JSON.parse(l)
        if (last.done) bar.value = last.done
        const say = last.state === 'waiting' ? 'Another one is rendered first.' : ''
        if (words.textContent !== say) words.textContent = say // it is read out
      }
      if (last.state !== 'ready') throw new Error(last.why ?? why)
      audio.src = src
      audio.hidden = false
      row.remove()
      ready()
      delete box.dataset.progress
      audio.play().catch(() => audio.focus()) // not allowed: it is one press away
      // The page knows its wave now.
      const page = new DOMParser().parseFromString(await (await fetch(location.href, {cache: 'no-cache'})).text(), 'text/html')
      const same = piece.id ? page.getElementById(piece.id) : page.querySelector('.player')
      const figs = piece.querySelectorAll('.fig')
      same?.querySelectorAll('.fig').forEach((f, i) => figs[i]?.replaceWith(f))
      const said = same?.querySelector('.length')
      if (said) piece.querySelector('.length').replaceWith(said)
      at(audio.currentTime)
    } catch (e) {
      if (audio.hidden) rest(call.signal.aborted ? '' : e instanceof TypeError ? why : e.message)
    } finally {
      call.abort() // whatever went wrong, nothing is waited for
      if (asked === call) asked = undefined
    }
  })
}
