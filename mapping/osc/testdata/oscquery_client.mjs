// A client of OSCQuery with node's HTTP, ws and osc-min. It prints what it
// finds and hears, and plays what it is told on its input.
// Usage: node oscquery_client.mjs HOST:PORT
import readline from "node:readline";
import WebSocket from "ws";
import * as osc from "osc-min";

const base = "http://" + process.argv[2];
const read = async (path) => {
  const r = await fetch(base + path);
  return r.ok && r.status === 200 ? r.json() : r.status;
};
const methods = (node) => [
  ...(node.TYPE === undefined ? [] : [node.FULL_PATH]),
  ...Object.values(node.CONTENTS ?? {}).flatMap(methods),
];

const host = await read("/?HOST_INFO");
console.log(`host ${host.NAME} ${host.OSC_TRANSPORT.toLowerCase()} ${host.OSC_IP}:${host.OSC_PORT} listen ${host.EXTENSIONS.LISTEN}`);
console.log("methods " + methods(await read("/")).join(" "));
const node = await read("/deployment/web/replicas");
console.log(`value ${JSON.stringify(node.VALUE)} of type ${node.TYPE}`);

const ws = new WebSocket(`ws://${host.WS_IP}:${host.WS_PORT}`);
ws.on("open", () => ws.send(JSON.stringify({ COMMAND: "LISTEN", DATA: "/deployment/web/replicas" })));
let last = Promise.resolve(); // answers are printed in the order of the messages
ws.on("message", (data, binary) => {
  last = last.then(async () => {
    if (binary) {
      const m = osc.fromBuffer(data);
      console.log("heard", m.address, ...m.args.map((a) => a.value));
      return;
    }
    const { COMMAND, DATA } = JSON.parse(data);
    console.log("command", COMMAND, DATA);
    const found = await read(DATA);
    console.log(...(typeof found === "number" ? ["missing", found] : ["new", ...methods(found)]));
  });
});
readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [, address, value] = line.split(" ");
  const view = osc.toBuffer({ address, args: [{ type: "float", value: Number(value) }] });
  ws.send(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
});
