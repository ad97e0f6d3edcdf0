package peer

import (
	"os"
	"path/filepath"
	"testing"
)

func TestStreamModuleOfVersionText(t *testing.T) {
	cases := []struct {
		text, file string
		builtIn    bool
	}{
		{"configure arguments: --prefix=/usr/share/nginx --modules-path=/usr/lib/nginx/modules --with-stream=dynamic --with-stream_ssl_module",
			"/usr/lib/nginx/modules/ngx_stream_module.so", false},
		{"configure arguments: --prefix=/opt/nginx --with-stream=dynamic", "/opt/nginx/modules/ngx_stream_module.so", false},
		{"configure arguments: --prefix=/etc/nginx --modules-path=/m --with-stream --with-threads", "", true},
		{"configure arguments: --prefix=/etc/nginx --with-stream_ssl_module", "", false},
		{"", "", false},
	}
	for _, c := range cases {
		if file, builtIn := streamModule(c.text); file != c.file || builtIn != c.builtIn {
			t.Errorf("%q: %q, built in %v; want %q, %v", c.text, file, builtIn, c.file, c.builtIn)
		}
	}
}

func TestStreamModuleMustBeThere(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "nginx")
	script := "#!/bin/sh\necho configure arguments: --with-stream=dynamic --modules-path=" + dir + " >&2\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if file, found := StreamModule(t.Context(), program); found {
		t.Errorf("found %q before it is there", file)
	}
	want := filepath.Join(dir, "ngx_stream_module.so")
	if err := os.WriteFile(want, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if file, found := StreamModule(t.Context(), program); !found || file != want {
		t.Errorf("%q, found %v; want %q", file, found, want)
	}
	if _, found := StreamModule(t.Context(), ""); found {
		t.Error("found without a program")
	}
}
