# Everything needs Go, git and make only. Tests that need further programs (redis-server, redis-cli, dig, dnsmasq, curl) install them where they may: root on
# Debian or a relative, unless SLUICE_NO_INSTALL is set; elsewhere they are skipped and say so. The race detector needs a C compiler as well (not on macOS); without one the tests run without it and say so.

GO       ?= go
FUZZTIME ?= 10s

# The slow checks of internal/lint run once, in the lint stage. vet is one of them.
TESTFLAGS := -vet=off -skip=^TestLong -timeout=5m

NO_RACE := WITHOUT THE RACE DETECTOR: go build -race does not work here (no C compiler?). Install gcc or clang and run the tests again.

# Shell text that sets $$race to -race and $$note to nothing, or $$race to nothing and $$note to the warning.
PROBE_RACE = race=-race; note=; if ! $(GO) build -race net 2>/dev/null; then race=; note='$(NO_RACE)'; fi

NO_REDIS := WITHOUT REDIS: redis-server is missing and cannot be installed from here, so what needs it is NOT TESTED; see the lines SKIP. Install redis-server and run the tests again.

# Shell text that adds the warning to $$note where there is no redis-server and internal/testnet may not install one.
PROBE_REDIS = if ! ( PATH="$$PATH:/usr/bin:/usr/sbin"; command -v redis-server || command -v valkey-server || \
	{ [ -z "$$SLUICE_NO_INSTALL" ] && [ "$$(id -u)" = 0 ] && command -v apt-get; } ) >/dev/null 2>&1; then note="$$note$${note:+ }$(NO_REDIS)"; fi

.DEFAULT_GOAL := help
.PHONY: help build test race invariants lint fuzz bench sim scenarios demo schema generate cover clean bin/testrun

help: ## show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/sluice
	$(GO) build -trimpath -o bin/sluice ./cmd/sluice

test: bin/testrun ## everything: lint, tests with race detector and invariants, tests as shipped with allocation gates, short fuzzing
	@$(PROBE_RACE); $(PROBE_REDIS); bin/testrun -note "$$note" \
		"lint: $(GO) test -count=1 ./internal/lint -long" \
		"race: $(GO) test $$race -tags=invariants -shuffle=on $(TESTFLAGS) ./..." \
		"plain: $(GO) test -count=1 $(TESTFLAGS) ./..." \
		"fuzz: fuzz 2s ./..."

race: bin/testrun ## the tests with the race detector
	@$(PROBE_RACE); $(PROBE_REDIS); bin/testrun -note "$$note" "race: $(GO) test $$race -shuffle=on $(TESTFLAGS) ./..."

invariants: bin/testrun ## the tests with assertions on and borrowed bytes poisoned
	@note=; $(PROBE_REDIS); bin/testrun -note "$$note" "invariants: $(GO) test -tags=invariants -shuffle=on $(TESTFLAGS) ./..."

lint: bin/testrun ## the house rules, go vet, staticcheck, generated files, the macOS build
	@bin/testrun "lint: $(GO) test -count=1 ./internal/lint -long"

fuzz: bin/testrun ## fuzz every target, each for FUZZTIME (10s)
	@bin/testrun "fuzz: fuzz $(FUZZTIME) ./..."

bench: ## compare with nginx, HAProxy and httputil.ReverseProxy (BENCHFLAGS are passed on)
	$(GO) run ./bench $(BENCHFLAGS)

sim: ## compare the balancing algorithms by simulation; writes docs/balancing.md and its images
	$(GO) run ./balance/sim

scenarios: ## let endpoints fail in all ways, and compare what clients notice with nginx and HAProxy (SCENARIOFLAGS are passed on)
	$(GO) run ./test/failover $(SCENARIOFLAGS)

demo: ## the mobile bank, a load on it, and a table that moves
	$(GO) run ./cmd/sluice demo

schema: ## print the JSON Schema of the configuration
	@$(GO) run ./cmd/sluice schema

generate: ## write the generated files anew
	$(GO) generate ./...

cover: ## the share of statements that the tests reach, in cover.out
	$(GO) test -coverprofile=cover.out $(TESTFLAGS) ./...
	@$(GO) tool cover -func=cover.out | tail -n 1

clean: ## remove what was built
	rm -rf bin cover.out

bin/testrun:
	@$(GO) build -o $@ ./internal/testrun
