// Package expr reads values from an exchange: CEL expressions, `${…}` templates, and JSON values with `${…}` in their texts, compiled and
// type-checked once when the configuration is loaded and evaluated for each request.
//
// A [Program] is one compiled expression, a [Template] is text with programs in it, a [Document] is a JSON value with them. All are immutable
// and may be shared by any number of exchanges at once. What they append is a copy: it stays valid when the exchange is reset. They only read
// the exchange, so that several goroutines may evaluate programs over one exchange that nobody changes.
//
// # Variables
//
//	request.method  request.scheme  request.host  request.path  request.query  request.size  request.id
//	request.query["name"]  request.query_all["name"]  request.headers["name"]  request.cookies["name"]
//	path.NAME
//	client.ip  client.port  client.cert.subject  client.cert.issuer  client.cert.serial  client.cert.fingerprint  client.cert.san
//	claims.NAME                   the claims of the caller's token
//	consumer.name  consumer.plan
//	version                       of the route's API
//	response.status  response.headers["name"]
//	STEP.status  STEP.headers["name"]  STEP.body     in a composition
//	ITEM                          the element of for_each, under the name that it has there
//
// Which of them are known depends on the place, see [Env]; an expression that names another one is refused when it is compiled. A member may be
// written with a point where its name is an identifier: request.headers.accept. Elements of lists in documents are body.items[0], and in an
// expression that is nothing else also body.items.0. Of an entry that occurs several times, query and cookies give the first value, query_all
// the list of all, headers all values joined by ", " (those of Cookie by "; ", which is how that field is joined). An entry that is not there
// has no value, and neither has an expression that needs it; the caller decides what that means. What is below null in a document is null.
// Alone, request.query is the whole query as it was sent; in a larger expression it is the map of its parameters.
//
// # Three ways to evaluate
//
// A selector or a literal that stands alone is read directly: without allocating, and for the variables of the exchange and the claims within
// some tens of nanoseconds. So is a condition of selectors and constants with ==, !=, in, has, !, && and ||. Everything else is CEL
// (https://cel.dev), with its extensions for strings, lists, sets, math, base64, optional values, two-variable comprehensions and cel.bind, and
// with these functions of ours over documents:
//
//	merge.deep(a, b, …)   merge.first   merge.last   merge.error     one object of several; merge.error refuses a member that two have
//	concat(a, b, …)       one list of several
//	json.encode(value)    json.decode(text)
//
// merge and concat take up to 8 arguments, and pass over null. Expressions have no side effects, and read nothing but the exchange: no clock, no
// environment, no files. Regular expressions are RE2, constant, and bounded in size.
//
// # Numbers and documents
//
// JSON that is passed on is not decoded. A part of a body that an expression selects, puts into a list or a map, filters, merges or gives back
// in a condition is written byte for byte as it was, its numbers with all their digits. Where a number is looked at it is a number of JSON: an
// integer if it is one however it is written (1.0 is 1), else a double; in arithmetic with a double it becomes one, divisions that leave a rest
// give a double, and comparisons of numbers of documents with each other and with integers are exact. What is worked out is written with the
// shortest digits that are the same double. Maps that an expression writes keep its order.
//
// # Bounds
//
// Sources have at most [MaxSource] bytes, those of CEL 16 KiB, 5000 nodes and 4 loops within each other. Work is counted while an expression
// runs, in bytes looked at and steps done; one that goes beyond about a tenth of a second, or makes more than 16 MiB, ends without a value. A
// panic of the library is no value either.
//
// # Safety
//
// What a request brings is data: a value that holds `${…}` is never looked at again, and in a URL, a header or JSON it is encoded or checked as
// a whole, whether it was read directly or worked out. See [Encoding].
package expr
