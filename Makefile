# What the targets are for: make help

# Debian keeps daemons and file system tools where a user's PATH may not look.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

GO    ?= go
IMAGE ?= berth
# What `make run` and `make bench` pass on: make run ARGS='--data /srv/berth'
ARGS  ?=

# No cgo: one static program. All targets build alike, so that each finds in Go's
# cache what another has compiled; only the race detector needs its own.
export CGO_ENABLED := 0
export GOFLAGS     := $(filter-out -trimpath,$(GOFLAGS)) -trimpath

# The program's version is what the repository says: a tag, or a name made of the
# commit.
BUILD = $(GO) build -buildvcs=auto -ldflags='-s -w'

PLATFORMS = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.DEFAULT_GOAL = help
.PHONY: help run build check test deps lint bench image dist clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start a registry on localhost:5000 with its data in ./berth-data
	$(GO) run ./cmd/berth serve $(ARGS)

build: ## bin/berth, a static program
	$(BUILD) -o bin/berth ./cmd/berth

check: ## for each commit: format, vet, and the tests of what differs from main
	@scripts/check

test: deps ## everything: installs what is missing (as root, on Debian), skips nothing
	@test -z "$$(gofmt -l .)" || { echo 'not formatted (make lint):'; gofmt -l .; exit 1; }
	$(GO) vet ./...
	BERTH_TEST_ALL=1 CGO_ENABLED=1 $(GO) test -race -timeout 20m $$($(GO) list ./... | grep -v /conformance)
	BERTH_TEST_ALL=1 $(GO) test -timeout 30m ./conformance

deps: ## install what make test needs and this machine lacks
	@scripts/deps

lint: ## gofmt, vet, staticcheck, govulncheck
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
	scripts/vulncheck

bench: ## cost of each operation, beside the floor
	$(GO) run ./cmd/berth-bench $(ARGS)

image: ## the image berth, of the program as built here
	rm -rf bin/image && mkdir -p bin/image/data
	GOOS=linux $(BUILD) -o bin/image/berth ./cmd/berth
	cp /etc/ssl/certs/ca-certificates.crt bin/image/
	DOCKER_BUILDKIT=0 docker build --tag $(IMAGE) --file Dockerfile bin/image

dist: ## dist/berth-OS-ARCH for every platform, and their checksums
	rm -rf dist && mkdir dist
	@set -e; for platform in $(PLATFORMS); do \
		os=$${platform%/*} arch=$${platform#*/}; \
		out=dist/berth-$$os-$$arch; \
		if [ $$os = windows ]; then out=$$out.exe; fi; \
		echo $$out; \
		GOOS=$$os GOARCH=$$arch $(BUILD) -o $$out ./cmd/berth; \
	done
	cd dist && sha256sum berth-* > SHA256SUMS

clean: ## remove what the other targets made
	rm -rf bin dist
