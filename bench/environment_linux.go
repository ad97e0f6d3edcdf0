package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-gateway/sluice/bench/peer"
)

// environment says on what the figures were measured.
func environment(ctx context.Context, programs peer.Programs) map[string]string {
	e := map[string]string{"go": runtime.Version()}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		e["kernel"] = unix.ByteSliceToString(name.Release[:])
	}
	if model := processorModel(); model != "" {
		e["processor"] = model
	}
	e["processors"] = processorCount()
	if text := firstLine(ctx, programs.NGINX, "-v"); text != "" {
		e["nginx"] = strings.TrimPrefix(text, "nginx version: nginx/")
	}
	if text := strings.Fields(firstLine(ctx, programs.HAProxy, "-v")); len(text) > 2 {
		e["haproxy"] = text[2]
	}
	if text := firstLine(ctx, programs.Sluice, "version"); text != "" {
		e["sluice"] = strings.TrimPrefix(text, "sluice ")
	}
	return e
}

func processorModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(text), "model name")
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(strings.TrimLeft(line, "\t :"))
}

func processorCount() string {
	text, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(text))
}

// firstLine is the first line of what a program prints about itself, on either output.
func firstLine(ctx context.Context, program string, args ...string) string {
	if program == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
