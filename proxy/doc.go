// Package proxy is the way of a request between the codec that read it and the one that writes
// its answer: forwarding fields, route, policies, action, problems, and at the end metrics and
// the access log. docs/life-of-a-request.md walks along it.
package proxy
