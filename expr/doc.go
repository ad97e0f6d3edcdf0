// Package expr reads values from an exchange: `${…}` templates and the selectors in them, compiled once when the configuration is
// loaded and evaluated for each request without allocating.
//
// A [Program] is one compiled expression, a [Template] is text with programs in it. Both are immutable and may be shared by any number
// of exchanges at once. What they append is a copy: it stays valid when the exchange is reset.
//
// The expressions of today are selectors, read directly from the exchange:
//
//	request.method  request.scheme  request.host  request.path  request.query  request.size  request.id
//	request.query["name"]  request.headers["name"]  request.cookies["name"]
//	path.NAME  client.ip  client.port
//	response.status  response.headers["name"]
//	"text"  'text'
//
// A member may be written with a point where its name is an identifier: request.headers.accept. Of an entry that occurs several times,
// query and cookies give the first value, headers all values joined by ", " (those of Cookie by "; ", which is how that field is
// joined). An entry that is not there has no value; the caller decides what that means.
//
// What a request brings is data: a value that holds `${…}` is never looked at again.
package expr
