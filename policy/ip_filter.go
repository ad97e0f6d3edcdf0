package policy

import (
	"net/netip"
	"slices"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// IPFilterOptions refuses requests by the address of the client, `client.ip`, with 403 `address_refused`. An address that both lists hold is
// refused.
type IPFilterOptions struct {
	// Allow lists the addresses and networks that may call. Without it all may that `deny` does not hold.
	Allow []netip.Prefix `yaml:"allow,single" min:"1" max:"100000"`
	// Deny lists the addresses and networks that may not call.
	Deny []netip.Prefix `yaml:"deny,single" min:"1" max:"100000"`
}

// Check reports a filter without a list.
func (o *IPFilterOptions) Check(r *config.Reporter) {
	if len(o.Allow) == 0 && len(o.Deny) == 0 && !r.Set(&o.Allow) && !r.Set(&o.Deny) {
		r.AddSuggest(r.At(o), "add allow or deny", "ip_filter: there is no list of addresses")
	}
}

// ipFilterPolicy refuses by address.
type ipFilterPolicy struct {
	allow, deny addressSet
	allowAll    bool
}

func newIPFilter(o *IPFilterOptions, _ *BuildContext) any {
	return &ipFilterPolicy{allow: newAddressSet(o.Allow), deny: newAddressSet(o.Deny), allowAll: len(o.Allow) == 0}
}

// addressRefused is returned as it is: what is refused says nothing of the request.
var addressRefused = message.Failure{Reason: message.AddressRefused, Side: message.SideClient, Stage: message.StageRoute} // read-only

// OnRequest implements Request.
func (p *ipFilterPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	a := x.Client.Addr.Unmap()
	if p.deny.has(a) || !p.allowAll && !p.allow.has(a) {
		return false, &addressRefused
	}
	return false, nil
}

// addressSet is a set of addresses as ranges in order that do not touch: an address is found by halving, however many networks there are.
type addressSet []addressRange

type addressRange struct{ first, last netip.Addr }

func newAddressSet(prefixes []netip.Prefix) addressSet {
	all := make(addressSet, 0, len(prefixes))
	for _, p := range prefixes {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()).Masked()
		all = append(all, addressRange{p.Addr(), lastOf(p)})
	}
	slices.SortFunc(all, func(a, b addressRange) int { return a.first.Compare(b.first) })
	merged := all[:0]
	for _, r := range all {
		if n := len(merged); n > 0 && !merged[n-1].last.Less(r.first) && merged[n-1].last.BitLen() == r.first.BitLen() {
			if merged[n-1].last.Less(r.last) {
				merged[n-1].last = r.last
			}
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// lastOf returns the last address of a network.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b) // as long as the one that it was made of
	return last
}

func (s addressSet) has(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	i, exact := slices.BinarySearchFunc(s, a, func(r addressRange, a netip.Addr) int { return r.first.Compare(a) })
	if exact {
		return true
	}
	return i > 0 && !s[i-1].last.Less(a) && s[i-1].first.BitLen() == a.BitLen()
}
