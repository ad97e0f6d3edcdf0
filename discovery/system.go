package discovery

import (
	"net"
	"os"
	"strings"

	"github.com/miekg/dns"
)

const (
	// resolvConf is where the system's resolvers stand; resolv.conf(5).
	resolvConf = "/etc/resolv.conf"
	// maxServers and maxSearch bound what is taken of it. The C library takes 3 servers.
	maxServers = 3
	maxSearch  = 8
)

// systemConfig reads the system's servers and the names to ask for in place of name. It is read for each lookup: networks change it while programs run.
// Without the file, or without a server in it, the resolver is expected on this host, as the C library does.
func systemConfig(path, name string) (list, names []string) {
	config := &dns.ClientConfig{}
	// An unreadable file is no error for the C library either.
	if file, err := os.Open(path); err == nil {
		if c, err := dns.ClientConfigFromReader(file); err == nil {
			config = c
		}
		file.Close()
	}
	for _, s := range config.Servers {
		if len(list) < maxServers {
			list = append(list, net.JoinHostPort(s, "53"))
		}
	}
	if len(list) == 0 {
		list = []string{"127.0.0.1:53"}
	}
	if !strings.Contains(name, ".") {
		for _, suffix := range config.Search {
			full := dns.CanonicalName(name + "." + strings.TrimPrefix(suffix, "."))
			if _, ok := dns.IsDomainName(full); ok && suffix != "." && len(names) < maxSearch {
				names = append(names, full)
			}
		}
	}
	return list, append(names, dns.CanonicalName(name))
}
