// osc-min as a peer: sends to PORT, prints its own port, the times of its
// bundles, and then what it is sent as JSON.
// Usage: node osc_min.mjs PORT
import dgram from "node:dgram";
import * as osc from "osc-min";

const to = Number(process.argv[2]);
const sock = dgram.createSocket("udp4", (msg) => {
  console.log(JSON.stringify(osc.fromBuffer(msg), (key, value) =>
    value && value.buffer instanceof ArrayBuffer ? Array.from(new Uint8Array(value.buffer, value.byteOffset, value.byteLength)) : value));
});
const send = (packet) => {
  const view = osc.toBuffer(packet);
  sock.send(new Uint8Array(view.buffer, view.byteOffset, view.byteLength), to, "127.0.0.1");
};
sock.bind(0, "127.0.0.1", () => {
  const near = Date.now() + 2000, far = near + 100; // ms, all that a Date can hold
  console.log(sock.address().port, near / 1000, far / 1000);
  send({
    address: "/types",
    args: [
      { type: "integer", value: 7 }, { type: "float", value: 0.5 }, { type: "string", value: "text" },
      { type: "blob", value: new Uint8Array([1, 2, 3]) }, { type: "true" }, { type: "false" }, { type: "null" }, { type: "bang" },
      { type: "double", value: 2.25 }, { type: "timetag", value: osc.dateToTimetag(new Date("2024-05-06T07:08:09.500Z")) },
    ],
  });
  send({ address: "/array", args: [[{ type: "integer", value: 1 }, [{ type: "integer", value: 2 }]]] });
  const tag = (ms) => osc.dateToTimetag(new Date(ms));
  send({
    timetag: tag(near),
    elements: [
      { address: "/outer", args: [{ type: "integer", value: 1 }] },
      { timetag: tag(far), elements: [{ address: "/inner", args: [{ type: "integer", value: 2 }] }] },
      { address: "/outer/last", args: [{ type: "integer", value: 3 }] },
    ],
  });
});
