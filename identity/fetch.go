package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	// maxDocument bounds a key set, from a file or from an issuer.
	maxDocument = 1 << 20
	// maxRedirects bounds how often an issuer may send us elsewhere.
	maxRedirects = 3
	// maxHeader bounds the header of an issuer's answer.
	maxHeader = 64 << 10
)

// loader gets the document of a key set. changed is false if it is the same as at the last call and was not read.
type loader func(ctx context.Context) (document []byte, changed bool, err error)

// fetcher gets a key set from an issuer. There is one request at a time and minutes between them, so that no connection is kept.
type fetcher struct {
	url    string
	client http.Client
	open   context.Context // ends by close: the client goes on to dial for a request that was given up
	end    context.CancelFunc
}

// newFetcher checks the address and returns a fetcher; roots may be nil for those of the system.
func newFetcher(address string, roots *x509.CertPool, timeout time.Duration) (*fetcher, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, errors.New("the URL of the key set cannot be read; write https://HOST/PATH")
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Opaque != "":
		return nil, fmt.Errorf("the URL %q of the key set is not absolute; write https://HOST/PATH", u.Redacted())
	case u.User != nil:
		return nil, fmt.Errorf("the URL %q of the key set has a password in it; key sets are public", u.Redacted())
	}
	f := &fetcher{url: address}
	f.open, f.end = context.WithCancel(context.Background())
	dialer := net.Dialer{Timeout: timeout}
	f.client = http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				defer context.AfterFunc(f.open, cancel)()
				return dialer.DialContext(ctx, network, address)
			},
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    timeout,
			DisableKeepAlives:      true,
			DisableCompression:     true, // a bomb of 1 MiB is then one of 1 MiB
			MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: checkRedirect,
	}
	return f, nil
}

// checkRedirect keeps an issuer from sending us in circles, or from a protected connection to one that is not.
func checkRedirect(next *http.Request, before []*http.Request) error {
	switch {
	case len(before) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case next.URL.Scheme != "https" && next.URL.Scheme != "http":
		return errors.New("a redirect to another scheme than http and https")
	case next.URL.Scheme != "https" && before[0].URL.Scheme == "https":
		return errors.New("a redirect from https to http")
	}
	return nil
}

// load is the loader.
func (f *fetcher) load(ctx context.Context) ([]byte, bool, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return nil, false, err
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	r.Header.Set("User-Agent", "sluice")
	answer, err := f.client.Do(r)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // the report names the URL already
		}
		if ctx.Err() != nil {
			err = errors.New("the issuer did not answer in time")
		}
		return nil, false, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, false, fmt.Errorf("the issuer answered with status %d", answer.StatusCode)
	}
	document, err := io.ReadAll(io.LimitReader(answer.Body, maxDocument+1))
	switch {
	case err != nil:
		return nil, false, fmt.Errorf("the answer of the issuer breaks off: %w", err)
	case len(document) > maxDocument:
		return nil, false, fmt.Errorf("the answer of the issuer is larger than %d bytes", maxDocument)
	}
	return document, true, nil
}

func (f *fetcher) close() {
	f.end()
	f.client.CloseIdleConnections()
}
