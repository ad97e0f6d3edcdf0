// Package proxy has the two pipelines. HTTP is the way of a request between the codec that read
// it and the one that writes its answer: forwarding fields, route, policies, action, problems, and
// at the end metrics and the access log; docs/life-of-a-request.md walks along it. Stream and
// Datagram pass on unread what is not HTTP: server name, endpoint, relay, and again metrics and the
// access log; docs/life-of-a-connection.md walks along them.
package proxy
