package cert

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	good, other := issue(t, "a.example"), issue(t, "b.example")
	goodFiles := save(t, dir, "good", good)
	bytesOf := func(parts ...[]byte) []byte {
		var all []byte
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	//lint:ignore SA1019 the test is about keys in this old form
	oldBlock, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", []byte("x"), []byte("secret"), x509.PEMCipherAES256)
	if err != nil {
		t.Fatal(err)
	}
	damaged := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: good.leaf.Raw[:40]})
	nul := sign(t, template("good.example\x00.evil.example"), ecKey(t))
	blank := sign(t, template("good example"), ecKey(t))

	tests := []struct {
		name  string
		files Files
		file  string // that the error is about
		want  []string
	}{
		{"no certificate file", Files{filepath.Join(dir, "none.pem"), goodFiles.Key}, "none.pem", []string{"there is no such file", "correct the path"}},
		{"no key file", Files{goodFiles.Cert, filepath.Join(dir, "none.key")}, "none.key", []string{"there is no such file"}},
		{"folder", Files{dir, goodFiles.Key}, filepath.Base(dir), []string{"no regular file"}},
		{"empty", Files{put(t, dir, "empty", nil), goodFiles.Key}, "empty", []string{"it is empty"}},
		{"too large", Files{put(t, dir, "large", make([]byte, maxFileSize+1)), goodFiles.Key}, "large", []string{"larger than 1 MiB"}},
		{"DER", Files{put(t, dir, "der", good.leaf.Raw), goodFiles.Key}, "der", []string{"no PEM block", "openssl x509"}},
		{"exchanged", Files{goodFiles.Key, goodFiles.Cert}, "good.key", []string{"private key and no certificate", "exchanged"}},
		{"certificate for a key", Files{goodFiles.Cert, goodFiles.Cert}, "good.pem", []string{"certificate and no private key", "exchanged"}},
		{"something else", Files{put(t, dir, "crl", pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte{1}})), goodFiles.Key}, "crl", []string{`"X509 CRL"`}},
		{"damaged", Files{put(t, dir, "damaged", bytesOf(good.cert, damaged)), goodFiles.Key}, "damaged", []string{"certificate 2 of the file is damaged"}},
		{"no key block", Files{goodFiles.Cert, put(t, dir, "text", []byte("hello"))}, "text", []string{"no PRIVATE KEY block"}},
		{"encrypted", Files{goodFiles.Cert, put(t, dir, "enc", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}))}, "enc", []string{"encrypted", "openssl pkey"}},
		{"encrypted in the old form", Files{goodFiles.Cert, put(t, dir, "enc1", pem.EncodeToMemory(oldBlock))}, "enc1", []string{"encrypted"}},
		{"damaged key", Files{goodFiles.Cert, put(t, dir, "badkey", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}))}, "badkey", []string{"failed to parse private key"}},
		{"other key", Files{goodFiles.Cert, put(t, dir, "other", other.key)}, "other", []string{"does not match the certificate in", "good.pem"}},
		{"issuer first", Files{put(t, dir, "turned", bytesOf(other.cert, good.cert)), goodFiles.Key}, "turned", []string{"belongs to certificate 2", "first"}},
		{"NUL in a name", save(t, dir, "nul", nul), "nul.pem", []string{`\x00`, "no host can have"}},
		{"blank in a name", save(t, dir, "blank", blank), "blank.pem", []string{"no host can have"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open([]Files{goodFiles, tt.files}, Options{Interval: -1})
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("Open: %v, want an *Error", err)
			}
			if e.Index != 1 || filepath.Base(e.File) != tt.file {
				t.Errorf("error about files %d, %s, want 1, %s", e.Index, e.File, tt.file)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
			if problems, _ := Check([]Files{goodFiles, tt.files}, time.Now()); len(problems) != 1 || problems[0].Error() != e.Error() {
				t.Errorf("Check found %v, Open %v", problems, e)
			}
		})
	}
}

func TestOpenTellsEveryProblem(t *testing.T) {
	dir := t.TempDir()
	missing := Files{Cert: filepath.Join(dir, "a.pem"), Key: filepath.Join(dir, "a.key")}
	swapped := save(t, dir, "b", issue(t, "b.example"))
	swapped.Cert, swapped.Key = swapped.Key, swapped.Cert
	_, err := Open([]Files{missing, swapped}, Options{Interval: -1})
	if err == nil || !strings.Contains(err.Error(), "a.pem") || !strings.Contains(err.Error(), "b.key") {
		t.Errorf("Open: %v, want both problems", err)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v does not carry its cause", err)
	}
	if _, err := Open(nil, Options{Interval: -1}); err == nil {
		t.Error("Open without certificates succeeded")
	}
}

func TestUnreadableKey(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // the key is what cannot be read, and not the way to it
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f := save(t, dir, "a", issue(t, "a.example"))
	if err := errors.Join(os.Chmod(f.Cert, 0o644), os.Chmod(f.Key, 0)); err != nil {
		t.Fatal(err)
	}
	asAnybody(t, func() {
		if _, err := Open([]Files{f}, Options{Interval: -1}); err == nil || !strings.Contains(err.Error(), "may not be read") || !strings.Contains(err.Error(), f.Key) {
			t.Errorf("Open: %v", err)
		}
	})
}

func TestWarnings(t *testing.T) {
	now := time.Now()
	expired := template("a.example")
	expired.NotBefore, expired.NotAfter = now.Add(-48*time.Hour), now.Add(-time.Hour)
	early := template("a.example")
	early.NotBefore = now.Add(time.Hour)
	ending := template("a.example")
	ending.NotBefore, ending.NotAfter = now.AddDate(0, -2, 0), now.Add(24*time.Hour)
	short := template("a.example") // a day of six is left: time to tell; two of six are early enough
	short.NotBefore, short.NotAfter = now.Add(-120*time.Hour), now.Add(23*time.Hour)
	fine := template("a.example")
	fine.NotBefore, fine.NotAfter = now.Add(-96*time.Hour), now.Add(48*time.Hour)
	common := template()
	common.Subject.CommonName = "old.example"
	odd := template("a.example", "x*.example")
	address := template()
	address.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	stranger := template()
	stranger.Subject.CommonName = "somebody else"
	unordered := issue(t, "a.example")
	unordered.cert = append(unordered.cert, sign(t, stranger, ecKey(t)).cert...)
	tests := []struct {
		name string
		made made
		want string // "" for no warning
	}{
		{"expired", sign(t, expired, ecKey(t)), "expired on"},
		{"not yet valid", sign(t, early, ecKey(t)), "not valid before"},
		{"near its end", sign(t, ending, ecKey(t)), "expires on"},
		{"short-lived near its end", sign(t, short, ecKey(t)), "expires on"},
		{"short-lived", sign(t, fine, ecKey(t)), ""},
		{"common name only", sign(t, common, ecKey(t)), "no subject alternative name"},
		{"odd wildcard", sign(t, odd, ecKey(t)), `"x*.example" never matches`},
		{"address only", sign(t, address, ecKey(t)), ""},
		{"chain out of order", unordered, "is not the issuer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := save(t, t.TempDir(), "a", tt.made)
			problems, warnings := Check([]Files{f}, now)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			switch {
			case tt.want == "" && len(warnings) > 0:
				t.Errorf("warned: %v", warnings)
			case tt.want != "" && (len(warnings) != 1 || !strings.Contains(warnings[0].Error(), tt.want)):
				t.Errorf("warnings %v, want one with %q", warnings, tt.want)
			}
		})
	}
}
