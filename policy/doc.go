// Package policy holds what can be done to a request, or its response, on a route.
//
// A policy is one file with a struct of options and a build function, and one line in table.go. What is built is shared by all requests
// of its route and must not change afterwards; whatever belongs to one request lives in the [message.Exchange].
//
// A [Chain] is the list of policies of one route. It runs them in the order of the configuration on requests, and backwards on
// responses for those that ran.
package policy
