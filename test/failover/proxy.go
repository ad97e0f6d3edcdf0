package main

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/sluice-gateway/sluice/bench/peer"
)

// proxyKinds are the proxies that can be put beside each other, in the order of the tables. Read-only.
var proxyKinds = []peer.Kind{peer.Sluice, peer.NGINX, peer.HAProxy}

// plan is what a proxy is configured for.
type plan struct {
	Dir       string   // a directory of its own
	Address   string   // where it listens
	Admin     string   // Sluice's admin listener
	Endpoints []string // addresses of the endpoints
	Latency   bool     // balance by latency, where it can be done
	Root      bool     // nginx's worker must be told to stay it
}

//go:embed templates/*.tmpl
var templateFiles embed.FS

// write renders the configuration of a proxy into the plan's directory and returns its path.
func (p plan) write(k peer.Kind) (string, error) {
	if strings.ContainsAny(p.Dir, " \t\"'{};") {
		return "", fmt.Errorf("the directory %q has characters that configuration files give a meaning", p.Dir)
	}
	name := peer.MainFile(k)
	t, err := template.New(name+".tmpl").Option("missingkey=error").ParseFS(templateFiles, "templates/"+name+".tmpl")
	if err != nil {
		return "", fmt.Errorf("template of %s: %w", name, err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return "", fmt.Errorf("template of %s: %w", name, err)
	}
	path := filepath.Join(p.Dir, name)
	return path, os.WriteFile(path, b.Bytes(), 0o644)
}

// command is how the program of a proxy is called with its configuration.
func command(k peer.Kind, program, dir, config string) []string {
	switch k {
	case peer.NGINX:
		return []string{program, "-p", dir, "-e", "stderr", "-c", config}
	case peer.HAProxy:
		return []string{program, "-db", "-f", config}
	}
	return []string{program, "run", config}
}
