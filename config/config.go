package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Config is one configuration file, decoded and checked. It is not changed after Load returned it and may be shared.
type Config struct {
	// Version of the configuration's vocabulary. It must be 1.
	Version int `yaml:"version,required"`
	// Admin opens a listener for health, metrics and profiles. Without it there is none.
	Admin *Admin `yaml:"admin"`
	// AccessLog writes one line for each request. Without it nothing is written.
	AccessLog *AccessLog `yaml:"access_log"`
	// Problems sets how the gateway's own failures are described to clients (RFC 9457).
	Problems Problems `yaml:"problems"`
	// State is a directory for what must outlive the program, such as the secret that session cookies are made from. It is made if it is not
	// there.
	State FilePath `yaml:"state"`
	// Cache bounds what all policies `cache` keep together.
	Cache Cache `yaml:"cache"`
	// Store is where limits and idempotency keys are counted that have no `store` of their own. Without it each program counts for itself, in
	// its memory.
	Store *Store `yaml:"store"`
	// Shutdown sets how the program ends.
	Shutdown Shutdown `yaml:"shutdown"`
	// Listeners are the addresses that clients connect to, by name.
	Listeners []*Listener `yaml:"listeners,required" min:"1"`
	// Routes say what is done with a request. The most specific match wins, whatever the order in the file; between equals the
	// first.
	Routes []*Route `yaml:"routes"`
	// Backends are named groups of interchangeable endpoints.
	Backends []*Backend `yaml:"backends"`
	// Plans are the limits that consumers share, by name. The policy `plan_limit` applies them.
	Plans []*Plan `yaml:"plans"`
	// Consumers are the callers that the gateway knows by name.
	Consumers []*Consumer `yaml:"consumers"`
	// Versions are the versions of APIs, by the name of the API, which routes belong to by `api`.
	Versions []*API `yaml:"versions"`
	// Policies are things done to requests and responses, by name, for use on several routes.
	Policies []*Policy `yaml:"policies"`

	// Source is the text that the configuration was read from, for reports of later stages.
	Source *Source `yaml:"-"`
	// Warnings are doubts about a configuration that is valid, sorted by place.
	Warnings Errors `yaml:"-"`

	places *places
}

// Check reports a version that this program does not know.
func (c *Config) Check(r *Reporter) {
	if c.Version != 1 && r.Set(&c.Version) {
		r.AddSuggest(r.At(&c.Version), "write version: 1", "version %d of the configuration is not known to this program", c.Version)
	}
}

// Admin is the listener for operators. It speaks plain HTTP and knows no callers, so it belongs on an address that only operators
// reach.
type Admin struct {
	// Address to listen on, as `127.0.0.1:9900` or `:9900`.
	Address Address `yaml:"address,required,short"`
}

// AccessLog is one line for each request, written beside the request and never by it.
type AccessLog struct {
	// Path is `stdout`, `stderr` or the name of a file, which is appended to.
	Path FilePath `yaml:"path,short" default:"stdout" words:"stdout stderr"`
	// Format of a line.
	Format string `yaml:"format" default:"json" enum:"json"`
	// Buffer bounds the memory that lines may wait in for a slow disk or pipe. Lines that find it full are left out and counted.
	Buffer Size `yaml:"buffer" default:"1MiB" min:"4KiB" max:"1GiB"`
}

// Problems sets how the gateway's own failures are described to clients (RFC 9457).
type Problems struct {
	// Type is the member `type` of a problem. `{reason}` in it is replaced by the reason word.
	Type string `yaml:"type" default:"about:blank"`
}

// Check reports a type with braces other than {reason}.
func (p *Problems) Check(r *Reporter) {
	rest := strings.ReplaceAll(p.Type, "{reason}", "reason")
	if strings.ContainsAny(rest, "{}") {
		r.AddSuggest(r.At(&p.Type), "write {reason} for the reason word", "type: only {reason} is replaced in the type of a problem")
		return
	}
	if rest == "" || strings.ContainsFunc(rest, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>' || c == '\\' }) {
		r.Add(r.At(&p.Type), "type: expected a URI such as https://api.example/problems/{reason}")
	}
}

// Shutdown sets how the program ends after SIGTERM.
type Shutdown struct {
	// Timeout bounds the time that requests in flight are given to end. What still runs then is cut off.
	Timeout time.Duration `yaml:"timeout" default:"30s"`
	// Delay is how long the program goes on accepting while `/readyz` already answers 503, for balancers in front to notice.
	Delay time.Duration `yaml:"delay" default:"0s"`
}

// MaxFile is the most bytes that a configuration file may have.
const MaxFile = 16 << 20

// Kinds maps the word of a policy kind, such as "request", to a function that returns a pointer to a new options struct. The struct
// follows the tag rules of this package; if it has a method Check(*Reporter), Load calls it after decoding.
type Kinds map[string]func() any

// Options of Load.
type Options struct {
	// Kinds are the policies that the program knows.
	Kinds Kinds
	// CheckFiles reports files that the configuration names and that cannot be opened. Their content is not checked here.
	CheckFiles bool
	// Getenv looks up `${env:NAME}`; nil means os.LookupEnv.
	Getenv func(name string) (string, bool)
}

// Read loads the configuration file of that name. See [Load].
func Read(file string, o Options) (*Config, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only: nothing to lose
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return Load(file, data, o)
}

// Load decodes and checks the text of a configuration. The file's name stands in errors, and paths in the text are relative to its
// directory. An error of invalid text is always of type [Errors], sorted by place; the Config is then nil. A valid
// Config may still carry warnings.
func Load(file string, data []byte, o Options) (*Config, error) {
	if o.Getenv == nil {
		o.Getenv = os.LookupEnv
	}
	src := newSource(file, data)
	r := newReporter(src)
	root := parse(src, r, data)
	if root == nil {
		return nil, r.Err()
	}
	cfg := &Config{Source: src}
	d := newDecoder(r, o, filepath.Dir(file))
	d.document(root, cfg)
	cfg.link(r, o)
	if err := r.Err(); err != nil {
		return nil, err
	}
	cfg.places = r.places
	cfg.Warnings = r.Warnings()
	return cfg, nil
}

// Reporter returns an empty reporter over the configuration's text, for stages that find errors after Load.
func (c *Config) Reporter() *Reporter {
	r := newReporter(c.Source)
	if c.places != nil {
		r.places = c.places
	}
	return r
}
