// Package web is the surface in a browser: it serves the page that shows the
// rack, and keeps every page that is open in step with the instrument. It
// stands where mapping/osc stands: what a page asks for goes to the control
// side as a Request, what happened comes from there.
//
// One WebSocket a page carries JSON both ways and, from the server, meters and
// sound as binary messages. A page that is slow loses meters and sound, never
// a value: of each address the newest waits, whatever came before it.
//
// The server takes whoever has the token: it is in the address that is opened
// first, and in a cookie from then on. Requests of pages of another origin are
// refused, and so are requests for another host's name, which is how a page
// elsewhere would reach a server on this machine. On a network it speaks TLS.
package web
