# The developer's commands; CI calls the same ones. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PROFILE_DIR := $(or $(CARGO_TARGET_DIR),target)
GROUPS := unit sim corpus ffmpeg players services

.PHONY: help setup build release web demo test $(addprefix test-,$(GROUPS)) bench bench-control soak lint fmt doctor

help: ## this list
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## install what is missing: ffmpeg, protoc, browser, test tools
	scripts/setup

web: ## fetch hls.js for the built-in player page (needs npm; the build does without)
	@if command -v npm >/dev/null; then scripts/npm-install coordinator/web; \
	else echo "no npm: the player page will name the package's addresses and play nothing itself"; fi

build: ## debug build of everything
	cargo build --workspace --all-targets

release: web ## optimised build of the one binary
	cargo build --release -p reelmill

demo: ## hand SRC=film.mp4 (or a made film) to a server, check the package, say where it plays
	scripts/setup --run
	$(MAKE) --no-print-directory release
	scripts/demo "$(SRC)"

test: ## every group: unit, sim, corpus, ffmpeg, players, services
	scripts/setup
	scripts/test $(GROUPS)

$(addprefix test-,$(GROUPS)): ## one group of tests
	scripts/test $(patsubst test-%,%,$@)

bench: ## compare with one ffmpeg command, alternating pairs (SRC=film.mp4)
	scripts/setup
	$(MAKE) --no-print-directory release
	bench/run $(if $(SRC),--source "$(SRC)")

bench-control: ## commits a second, lease times and memory of a coordinator with 2,000 workers (ARGS="--seconds 1800")
	cargo build --release -p reelmill -p reelmill-bench-control
	$(PROFILE_DIR)/release/reelmill-bench-control --rate 2400 $(ARGS)

soak: ## at length: the simulation with 100,000 seeds, the shells with 1,000, kills at every effect, a cluster under 200 faults
	REELMILL_SIM_SEEDS=$(or $(SEEDS),100000) cargo nextest run --release -p reelmill-tests --test sim --no-capture
	REELMILL_FLEET_SEEDS=20 cargo nextest run --release -p reelmill-tests --test fleet --no-capture
	REELMILL_TURMOIL_SEEDS=$(or $(TURMOIL_SEEDS),1000) cargo test -p reelmill-tests --test network -- --nocapture
	cargo build -p reelmill
	REELMILL_SOAK=1 cargo test -p reelmill-tests --test kills -- --test-threads 1 --nocapture
	REELMILL_SOAK=1 cargo test -p reelmill-tests --test soak -- --nocapture

lint: ## formatting, clippy, dependencies and licences
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo deny --locked --log-level error check bans licenses sources

fmt: ## format the code
	cargo fmt --all

doctor: ## what this machine can encode with, and what is missing
	cargo run --quiet -p reelmill -- doctor
