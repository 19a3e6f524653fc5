# `make up` and `make test` do everything on a fresh Debian 12 machine with Rust. All targets can be repeated.

NODES ?= 2
DETACH ?= 0
export NODES DETACH

.PHONY: help up down demo status test check bench tools audit fmt clean

help: ## Say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

up: ## Build and run a one-machine cluster (NODES=2 media nodes; DETACH=1 in the background)
	@deploy/local/cluster up

down: ## Stop the cluster that `make up DETACH=1` started
	@deploy/local/cluster down

demo: ## As up, with sessions of synthetic participants, a recording, and the console in front
	@deploy/local/cluster demo

status: ## Say which daemons of the local cluster run
	@deploy/local/cluster status

test: ## Install what the tests need and run them all
	@.ci/packages test
	@.ci/test

check: ## Formatting, lints and dependency rules
	@.ci/check

bench: ## Benchmarks: the forwarding path and, with Janus installed, side by side with it
	@.ci/packages bench
	@.ci/bench

tools: ## Install optional tools: cargo-nextest, cargo-deny, cargo-fuzz
	cargo install --locked cargo-nextest cargo-deny cargo-fuzz

audit: ## Advisories for the dependencies (needs the network and cargo-deny)
	cargo deny check advisories

fmt: ## Format the code
	cargo fmt --all

clean: ## Remove build products and the local cluster's state
	@deploy/local/cluster clean
	cargo clean
