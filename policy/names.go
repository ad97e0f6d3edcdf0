package policy

import (
	"strings"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// checkName reports a header name that a policy cannot change. Fields that decide where a message ends or what a connection does are
// derived by the codec from the message itself, and the forwarding fields from the connection: a copy from the configuration would be a
// second opinion.
func checkName(r *config.Reporter, at config.Pos, name, key string, d direction) {
	if !message.ValidToken([]byte(name)) {
		r.Add(at, "%s: %q is not the name of a header field", key, name)
		return
	}
	id := readAs(name)
	spelled := name
	if id != 0 && !message.EqualFold([]byte(name), id.String()) {
		spelled = name + " (which backends may read as " + id.String() + ")"
	}
	switch {
	case id == message.Host && d == ofRequest:
		if key != "set" || message.Lookup([]byte(name)) != message.Host {
			r.AddSuggest(at, "write set: {Host: NAME}", "%s: %s cannot be missing or occur twice, so it can only be set", key, spelled)
		}
	case id != 0 && id.Flags()&(message.FlagHop|message.FlagFraming) != 0:
		r.Add(at, "%s: %s belongs to the connection and is always written by the gateway itself", key, spelled)
	case owned(id, d) || strings.HasPrefix(strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(name)), "sluice-"):
		r.Add(at, "%s: %s is always written by the gateway itself", key, spelled)
	case key == "add" && id != 0 && id.Flags()&message.FlagSingle != 0:
		r.AddSuggest(at, "use set", "add: %s can occur only once", spelled)
	}
}

// owned reports whether the proxy itself writes the field on every message of that direction.
func owned(id message.ID, d direction) bool {
	switch id {
	case message.XRequestId:
		return true
	case message.XForwardedFor, message.XForwardedProto, message.XForwardedHost, message.Forwarded:
		return d == ofRequest
	}
	return false
}

// readAs returns the known name that a name is or could be taken for: many backends turn "_" and "." into "-", or all of them into "_".
func readAs(name string) message.ID {
	if id := message.Lookup([]byte(name)); id != 0 {
		return id
	}
	id := message.Lookup([]byte(strings.NewReplacer("_", "-", ".", "-").Replace(name)))
	if id == 0 || id.Flags()&(message.FlagHop|message.FlagFraming|message.FlagManaged) == 0 {
		return 0
	}
	return id
}
