# k8s-synth. Plain "make" prints what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export CGO_ENABLED := 1

PROGRAMS := k8s-synth k8s-synth-kube k8s-synth-cluster topology-synthesizer
ARGS ?=

.PHONY: help play test build setup check unit race e2e proof bench images site shots install clean

help: ## print this
	@echo 'k8s-synth: a Eurorack whose modules are a Kubernetes cluster'; echo
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo '  make play ARGS="--device null --for 30s"   passes flags on'

play: build ## build what is missing and play the default scene (first build: minutes)
	@bin/k8s-synth play $(ARGS)

test: ## all tests, with all their set-up; what CI runs
	@.ci/setup test
	@$(BUILD_ALL)
	@.ci/test

build: setup ## build the programs into bin
	@.ci/build $(PROGRAMS) eno-controller eno-reconciler

setup: ## name and install what the build needs from the system
	@.ci/setup build

BUILD_ALL = .ci/build $(PROGRAMS) eno-controller eno-reconciler kubectl staticcheck

check: ## vet and lint only
	@$(BUILD_ALL)
	@.ci/test check

unit: ## unit, allocation and golden tests only
	@$(BUILD_ALL)
	@.ci/test unit

race: ## tests under the race detector only
	@$(BUILD_ALL)
	@.ci/test race

e2e: ## end-to-end tests only
	@$(BUILD_ALL)
	@.ci/test e2e

proof: ## long proofs: underruns, storms, soaks; each prints a table
	@.ci/setup test
	@$(BUILD_ALL)
	@.ci/test proof

bench: ## benchmarks and comparisons; each prints a table
	@.ci/setup test
	@$(BUILD_ALL)
	@.ci/test bench

images: ## build the container images as tar files into bin/images, without a container engine
	@.ci/images

site: build ## write the pages about the instrument, with sound, into bin/site
	@bin/k8s-synth site -o bin/site

shots: build ## photograph the running rack for the gallery of those pages (needs chromium)
	@.ci/build k8s-synth-shots
	@bin/k8s-synth-shots -o mapping/web/site/shots

install: build ## copy the programs to PREFIX/lib/k8s-synth and link k8s-synth into PREFIX/bin (PREFIX=~/.local)
	@.ci/install "$${PREFIX:-$$HOME/.local}" $(PROGRAMS) eno-controller eno-reconciler

clean: ## remove what was built
	rm -rf bin
