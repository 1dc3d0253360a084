# Starling. `make help` lists the targets. Tools are fetched once, at pinned versions, by scripts/tools.sh.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run dev-api dev-core dev-py migrate-up build test test-fast test-go test-clients test-python test-page check fmt lint generate verify licences vuln bench bench-density bench-dispatch bench-lorr bench-motion bench-live bench-neighbour bench-page soak clean

GO ?= go
ARGS ?=
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -X main.version=$(VERSION)
tool = $$(scripts/tools.sh $(1))

# What fits on top of Apache-2.0: permissive licences (BSL-1.0 is that of Boost), and MPL-2.0 for whole files of others.
LICENCES := Apache-2.0,MIT,BSL-1.0,BSD-2-Clause,BSD-3-Clause,ISC,MPL-2.0,Zlib,Unlicense,CC0-1.0,0BSD

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: postgres-installed build ## start everything with a demo warehouse; ARGS="--port P --data DIR --reset"
	@exec bin/starling dev $(ARGS)

# A folder of its own: `make run ARGS=--reset` forgets all that is in .starling.
STACK ?= .starling-stack
.PHONY: stack-up stack-down stack-status run-full
stack-up: servers-installed ## start PostgreSQL, Redis, Kafka, InfluxDB, Mosquitto and Keycloak on loopback; says where their addresses are
	@$(GO) run ./deploy/stack/cmd/stack up $(STACK)

stack-down: ## stop them (their data stay; `make stack-down FORGET=1` deletes them)
	@$(GO) run ./deploy/stack/cmd/stack $(if $(FORGET),remove,down) $(STACK)

stack-status: ## which of them run
	@$(GO) run ./deploy/stack/cmd/stack status $(STACK)

run-full: build ## the demo warehouse of `make run` on the servers of `make stack-up`
	@[ -f $(STACK)/env ] || { echo "run-full: no $(STACK)/env: make stack-up first" >&2; exit 1; }
	@set -a; . $(abspath $(STACK))/env; set +a; exec bin/starling dev --external --data $(STACK)/run $(ARGS)

dev-api: build ## the gateway role alone, on HTTP_PORT (8080); settings: deploy/config/dev.example.yaml
	@exec bin/starling serve --roles gateway $(ARGS)

dev-core: build ## the engine role alone, on HTTP_PORT (8082), beside dev-api
	@HTTP_PORT=$${HTTP_PORT:-8082} LINK_PORT=$${LINK_PORT:-8083} exec bin/starling serve --roles engine $(ARGS)

dev-py: ## the prediction process alone, on HTTP_PORT (8084)
	@HTTP_PORT=$${HTTP_PORT:-8084} SERVICE_NAME=$${SERVICE_NAME:-starling-predict} exec scripts/python.sh run $(ARGS)

migrate-up: build ## bring the database of DATABASE_URL to the newest schema
	@exec bin/starling migrate up $(ARGS)

build: page ## build the program, with its page, into bin/starling
	@$(GO) build -ldflags '$(LDFLAGS)' -o bin/starling .

.PHONY: page
page: # what `make build` puts into the program; nothing to do while its sources are older
	@scripts/page.sh build

.PHONY: postgres-installed
postgres-installed: # as root on Debian it installs what is missing, else it says what to install
	@$(GO) run ./deploy/stack/cmd/postgres ensure

.PHONY: servers-installed
servers-installed: # what the suites want: all servers, some fetched, InfluxDB built once (4 CPU-minutes); `make run` wants PostgreSQL alone
	@$(GO) run ./deploy/stack/cmd/stack ensure

# The engine has no goroutines: its tests run without the race detector, everything else runs with it.
FUZZTOTAL ?= 120s
test: test-go test-python test-clients test-page ## all suites, on real servers and in a real browser (2 cores: about 8 min warm, up to 25 cold)
	@echo "test: all passed"

test-go: # unit, simulation, integration on real servers, short fuzzing
	@$(MAKE) --no-print-directory -j2 servers-installed page
	$(GO) vet -tags integration ./...
	@$(GO) run ./scripts/gotest \
	  --suite -tags integration -timeout 15m ./engine/... \
	  --suite -race -tags integration -timeout 25m $$($(GO) list ./... | grep -v '^starling/engine\(/\|$$\)') \
	  --fuzz-total $(FUZZTOTAL)

test-python: # the Python side
	@scripts/python.sh test

test-clients: postgres-installed build # the clients and the examples of docs/api.md, against the real program
	@scripts/clients.sh test

test-page: servers-installed build # the page in a real browser, against the real program
	@scripts/page.sh test

test-fast: ## the inner loop: no servers, no race detector
	@$(GO) run ./scripts/gotest ./...

check: lint verify licences vuln ## everything but the servers' tests: formatting, linters, generated code, licences, known vulnerabilities
	@scripts/python.sh check
	@scripts/clients.sh check
	@scripts/page.sh check
	@echo "check: done"

fmt: ## format the Go code (gofumpt, gci)
	@$(call tool,golangci-lint) fmt ./...

lint: ## formatting and linters (golangci-lint, buf)
	@$(call tool,golangci-lint) fmt --diff ./...
	@$(call tool,golangci-lint) run ./...
	@$(call tool,buf) lint
	@echo "lint: clean"

generate: ## regenerate code from proto/ and SQL, and the OpenAPI document
	@scripts/generate.sh

verify: ## fail if generated files or go.mod are not what their sources say, or if proto/ breaks old readers
	@scripts/verify.sh

licences: ## check that the licences of all linked modules are compatible
	@$(call tool,go-licenses) check . --ignore starling --allowed_licenses='$(LICENCES)'
	@echo "licences: all compatible"

vuln: ## look up known vulnerabilities of what is linked, and of the Python and npm packages (needs the network)
	@scripts/vuln.sh
	@scripts/audit.sh

.PHONY: sbom
sbom: ## write what the program, the page, the client and the Python side are made of (CycloneDX) into bin/sbom
	@scripts/sbom.sh

COUNT ?= 10
BENCH ?= .
bench: ## Go benchmarks; BENCH=regexp COUNT=n; compare two outputs with `$$(scripts/tools.sh benchstat) old new`
	@$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) -timeout 0 ./...

bench-live: ## the live channel: cost of a frame, 1,000 and 10,000 clients, bad clients (ten minutes)
	@$(GO) run ./bench/live $(ARGS)

bench-neighbour: postgres-installed ## what a tenant at 20 times its quotas costs another one (two minutes)
	@$(GO) run ./deploy/stack/cmd/redis ensure
	@$(GO) run ./bench/neighbour $(ARGS)

bench-page: postgres-installed build ## trace the page in a real browser with 10,000 and 100,000 robots (half an hour)
	@cd gateway/web && npx --no-install playwright test --project=bench

bench-dispatch: ## assignment of 1,000 x 1,000 and 200 x 10,000, and its cost against the optimum
	@$(GO) test -run '^$$' -bench 'Assign|Batch|Policies|Changes' -benchmem -count 3 -timeout 0 ./engine/planner ./engine/dispatch

DENSITY ?= 82,164,246,328,410,492,573,655
bench-density: build ## crowd random_100 up to 80 % of its free cells, with and without congestion windows (ten minutes)
	@bin/starling bench density testdata/lorr/random_100/problem.json --robots $(DENSITY) --chart docs/img/density.svg $(ARGS)

bench-lorr: build ## problems of the League of Robot Runners in lock-step against its own planner; ARGS="--seeds 1 --only random_100"
	@$(GO) run ./bench/motion --rows lockstep $(ARGS)

bench-motion: build ## every figure of docs/performance.md on motion (an hour); ARGS="--rows zones,life --seeds 1"
	@$(GO) run ./bench/motion $(ARGS)

.PHONY: bench-backbone
bench-backbone: servers-installed ## facts through the outbox to a real Kafka, snapshots, views in Redis, with the CPU of each process (three minutes)
	@$(GO) run ./bench/backbone $(ARGS)

AWAY ?= 5m
.PHONY: drills
drills: servers-installed ## hurt every store in every way under load, each AWAY (5m) away too, and print what it cost (40 minutes; `make test` has a short form)
	@STARLING_DRILLS=all STARLING_DRILLS_AWAY=$(AWAY) $(GO) test -count 1 -timeout 0 -v -tags integration -run '^TestDrills$$' .

SEEDS ?= 10000
FUZZTIME ?= 10m
soak: servers-installed ## many seeds of the simulation with every fault (SEEDS=n), each fuzz target for FUZZTIME (10m), a real issuer away for as long as keys are kept, 200 kills of servers and engine, and requests without end for each role
	@STARLING_SEEDS=$(SEEDS) $(GO) test -count 1 -timeout 0 -v -run '^TestSeeds' ./engine/sim
	@STARLING_KEYCLOAK_TTL_SECONDS=$${STARLING_KEYCLOAK_TTL_SECONDS:-300} $(GO) test -count 1 -timeout 0 -v -tags integration -run '^TestARealKeycloakThatIsAwayOrRevoked$$' .
	@STARLING_DRILLS=$${STARLING_KILLS:-200} $(GO) test -count 1 -timeout 0 -v -tags integration -run '^TestDrills$$' .
	$(GO) test -count 1 -timeout 0 -tags integration,schemathesis -run '^TestTheProgramKeepsToItsDocumentForEveryRole$$|^TestTheAPIKeepsToItsDocument$$' . ./gateway/rest
	@$(GO) run ./scripts/gotest --fuzz $(FUZZTIME)

clean: ## remove what the targets made in the checkout (the data of `make run` stays: --reset clears it)
	@rm -rf bin
