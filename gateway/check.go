package gateway

import (
	"time"

	"github.com/sluice-gateway/sluice/cert"
	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/policy"
)

// Load reads a configuration file with everything that this program knows of policies.
func Load(file string) (*config.Config, error) {
	return config.Read(file, options())
}

// Parse is Load for a text that stands in no file; paths in it are relative to file's directory.
func Parse(file string, text []byte) (*config.Config, error) {
	return config.Load(file, text, options())
}

func options() config.Options { return config.Options{Kinds: policy.Kinds(), CheckFiles: true} }

// Schema returns the JSON Schema of the configuration.
func Schema() []byte { return config.Schema(policy.Kinds()) }

// Reference returns the reference of the configuration as Markdown.
func Reference() []byte { return config.Markdown(policy.Kinds()) }

// Check reports what is wrong with a configuration beyond its text, as Apply would: certificates
// that cannot be used, expressions that do not compile, routes that contradict each other. It opens
// no port and starts nothing.
func Check(c *config.Config) error {
	_, err := Review(c)
	return err
}

// Review is Check with the doubts about a configuration that is valid, beyond those that it was
// loaded with.
func Review(c *config.Config) (warnings config.Errors, err error) {
	k := &compiler{config: c, report: c.Reporter()}
	k.compile()
	return k.report.Warnings(), k.report.Err()
}

func checkCertificates(c *config.Config, r *config.Reporter) {
	for _, l := range c.Listeners {
		if l.TLS == nil {
			continue
		}
		at := func(e *cert.Error) config.Pos {
			crt := &l.TLS.Certificates[e.Index]
			if e.File == string(crt.Key) {
				return r.At(&crt.Key)
			}
			return r.At(&crt.Cert)
		}
		problems, warnings := cert.Check(certFiles(l.TLS), time.Now())
		for _, p := range problems {
			r.Add(at(p), "%s", p.Error())
		}
		for _, w := range warnings {
			r.Warn(at(w), "%s", w.Error())
		}
	}
}
