package route

import (
	"fmt"
	"mime"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-gateway/sluice/message"
)

// refAnswer is what a request leads to: a route, with the version of its API, or with what is wrong with that.
type refAnswer struct {
	route   int // -1 for none
	version string
	failure string          // reason and status
	allow   []string        // without a route: the methods that would have been right
	passed  map[string]bool // without a route: the failures of routes that match but for the version
}

// candidate is one way in which a route matches.
type candidate struct {
	refAnswer
	unknown  bool // it matches what follows a version that its API does not have
	literal  bool // its pattern names the first segment of the path
	passed   bool // but for the version
	versions int  // 0 for listed ones, 1 for all of an API, 2 for no API
	rank     []int
}

func compareRanks(a, b candidate) int { return slices.Compare(a.rank, b.rank) }

// refCandidates returns the ways in which the path and the version of a request match a route.
func refCandidates(t *Route[int], r *refRequest) (all []candidate) {
	pattern := t.Match.Path
	c := candidate{versions: 2, literal: !strings.ContainsAny(pattern[:min(2, len(pattern))], "{*")}
	if t.API == nil {
		if rank, ok := refPath(pattern, r.path); ok {
			c.rank = rank
			all = append(all, c)
		}
		return all
	}
	c.versions = 1
	if t.Versions != nil {
		c.versions = 0
	}
	first, rest, _ := strings.Cut(r.path[1:], "/")
	first, _, _ = strings.Cut(first, ";")
	known, strange := false, false
	if slices.Contains(t.API.By, Selector{Kind: SelectPath}) {
		known = slices.Contains(t.API.Versions, first)
		_, err := strconv.ParseUint(strings.TrimPrefix(first, "v"), 10, 64)
		strange = !known && err == nil && strings.HasPrefix(first, "v")
	}
	c.version, c.failure, c.passed = refVersion(t.API, r, first)
	if c.failure == "" && t.Versions != nil && !slices.Contains(t.Versions, c.version) {
		c.failure, c.passed = "version_not_offered 0", true
	}
	if known {
		if rank, ok := refPath(pattern, "/"+rest); ok {
			c.literal, c.rank = true, slices.Insert(rank, 1, 0)
			all = append(all, c)
		}
		return all
	}
	of := c
	if strange && (c.failure == "" || c.passed) {
		of.version, of.failure, of.passed = "", "version_unknown 404", false
	}
	if rank, ok := refPath(pattern, r.path); ok {
		if strange && !c.literal {
			c = of
		}
		c.rank = rank
		all = append(all, c)
	}
	if rank, ok := refPath(pattern, "/"+rest); ok && strange {
		of.rank, of.unknown = rank, true
		all = append(all, of)
	}
	return all
}

// refVersion returns the version that a request means, or what is wrong with it; passed says that it names none.
func refVersion(a *API, r *refRequest, first string) (version, failure string, passed bool) {
	statuses := map[SelectorKind]int{SelectPath: 404, SelectHeader: 400, SelectQuery: 400, SelectMediaType: 406}
	for _, s := range a.By {
		var named []string
		switch s.Kind {
		case SelectPath:
			if slices.Contains(a.Versions, first) {
				named = []string{first}
			}
		case SelectHeader:
			named = refHeader(r, s.Name)
			if len(named) > 1 {
				return "", "header_repeated 0", false
			}
		case SelectQuery:
			values, _ := url.ParseQuery(r.query)
			named = slices.DeleteFunc(values[s.Name], func(v string) bool { return v == "" })
		case SelectMediaType:
			named = refAccept(a, s.Name, refHeader(r, "Accept"))
		}
		slices.Sort(named)
		if named = slices.Compact(named); len(named) == 0 || len(named) == 1 && named[0] == "" {
			continue
		}
		if len(named) > 1 || !slices.Contains(a.Versions, named[0]) {
			return "", fmt.Sprintf("version_unknown %d", statuses[s.Kind]), false
		}
		return named[0], "", false
	}
	if a.Default == "" {
		return "", fmt.Sprintf("version_unknown %d", statuses[a.By[0].Kind]), true
	}
	return a.Default, "", false
}

func refHeader(r *refRequest, name string) (values []string) {
	for _, h := range r.headers {
		if strings.EqualFold(h[0], name) {
			values = append(values, h[1])
		}
	}
	return values
}

// refAccept returns the version that Accept names, "?" for one that there is not, nothing for none.
func refAccept(a *API, form string, lines []string) []string {
	before, after, _ := strings.Cut(form, "{version}")
	best, weight, missing, others := "", 0.0, false, false
	for part := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		typ, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		w := 1.0
		if q, ok := params["q"]; ok {
			w, _ = strconv.ParseFloat(q, 64)
		}
		version, isLess := strings.CutPrefix(typ, before)
		version, isForm := strings.CutSuffix(version, after)
		switch {
		case w == 0:
		case !isLess || !isForm || version == "":
			others = true
		case !slices.Contains(a.Versions, version):
			missing = true
		case w > weight:
			best, weight = version, w
		}
	}
	switch {
	case best != "":
		return []string{best}
	case missing && !others:
		return []string{"?"}
	}
	return nil
}

// wanted returns what a table may tell of a request with this answer.
func (a *refAnswer) wanted() (all []string) {
	switch {
	case a.route >= 0 && a.failure == "path_ambiguous":
		return []string{fmt.Sprintf("%d path_ambiguous", a.route)}
	case a.route >= 0 && a.failure != "":
		return []string{a.failure}
	case a.route >= 0:
		return []string{strings.TrimSpace(fmt.Sprintf("%d %s", a.route, a.version))}
	case len(a.allow) > 0:
		return []string{"method_not_allowed " + strings.Join(a.allow, ", ")}
	case len(a.passed) > 0:
		for failure := range a.passed {
			all = append(all, failure)
		}
		return all
	}
	return []string{"no_route"}
}

// told writes a result as wanted does.
func told(res *Result[int]) string {
	switch res.Reason {
	case message.ReasonNone:
		if res.API != nil {
			return fmt.Sprintf("%d %s", res.Payload, res.API.Versions[res.Version])
		}
		return fmt.Sprint(res.Payload)
	case message.PathAmbiguous:
		return fmt.Sprintf("%d path_ambiguous", res.Payload)
	case message.VersionUnknown, message.VersionNotOffered, message.HeaderRepeated:
		return fmt.Sprintf("%s %d", res.Reason, res.Status)
	}
	return strings.TrimSpace(res.Reason.String() + " " + string(res.Allow))
}
