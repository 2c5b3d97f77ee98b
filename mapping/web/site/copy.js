// What is to be typed can be copied.
for (const pre of document.querySelectorAll('pre')) {
  const box = document.createElement('div')
  const button = document.createElement('button')
  box.className = 'copied'
  button.type = 'button'
  button.textContent = 'Copy'
  pre.before(box)
  box.append(pre, button)
  let rest
  const say = (word, done) => {
    button.textContent = word
    box.classList.toggle('done', done)
    clearTimeout(rest)
    if (done) rest = setTimeout(() => say('Copy', false), 1600)
  }
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(pre.textContent)
    } catch {
      // Not allowed, or no clipboard: it is marked, to be copied by hand.
      getSelection().selectAllChildren(pre)
      if (!document.execCommand('copy')) return say('Marked', true)
    }
    say('Copied', true)
  })
}
