// Package limit x.
package limit
