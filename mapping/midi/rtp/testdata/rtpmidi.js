// A peer made of the npm package rtpmidi, bound to loopback. It is told by
// lines of JSON on standard input and tells by lines of JSON what happens.
//
//	node rtpmidi.js DIRECTORY HASTE PORT [REMOTE]
//
// DIRECTORY holds node_modules. Its pauses, of seconds, are divided by HASTE.
// PORT is its control port, REMOTE the control port to invite; without one it
// waits to be invited.
const path = require('path');
const readline = require('readline');

const [dir, haste, port, remote] = process.argv.slice(2);
for (const name of ['setTimeout', 'setInterval']) {
  const plain = global[name];
  global[name] = (f, ms, ...rest) => plain(f, ms / Number(haste), ...rest);
}
const tell = o => process.stdout.write(JSON.stringify(o) + '\n');
console.error = console.warn = console.info = () => {};
const rtpmidi = require(path.join(dir, 'node_modules', 'rtpmidi'));
rtpmidi.logger.level = 'error';
rtpmidi.logger.silent = true;

const session = new rtpmidi.Session(Number(port), 'npm', 'npm rtpmidi', 0x12345678);
session.on('error', e => tell({ event: 'error', text: String(e) }));
session.on('ready', () => {
  tell({ event: 'ready' });
  if (remote) session.connect({ address: '127.0.0.1', port: Number(remote) });
});
session.on('streamAdded', e => {
  tell({ event: 'open', name: e.stream.name });
  // It sends nothing before it has compared clocks by itself.
  const timer = setInterval(() => {
    if (e.stream.latency === null || e.stream.timeDifference === null) return;
    clearInterval(timer);
    tell({ event: 'synced', latency: e.stream.latency });
  }, 5);
});
session.on('streamRemoved', () => tell({ event: 'closed' }));
session.on('controlMessage', m => tell({ event: 'control', command: m.command }));
session.on('message', (delta, data) => tell({ event: 'message', data: [...data] }));
// The ports that start would open are open to the network.
session.controlChannel.bind(Number(port), '127.0.0.1');
session.messageChannel.bind(Number(port) + 1, '127.0.0.1');

readline.createInterface({ input: process.stdin }).on('line', line => {
  const { send, end } = JSON.parse(line);
  if (send) {
    for (const stream of session.getStreams()) {
      stream.sendMessage({
        timestamp: session.now(),
        commands: send.map(data => ({ deltaTime: 0, data: Buffer.from(data) })),
      });
    }
  }
  if (end) session.getStreams().forEach(s => s.end());
}).on('close', () => process.exit(0));
