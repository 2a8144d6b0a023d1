# Everything a developer runs. `make` alone lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build demo bench-clients bench-copy bench-cutover bench-follow bench-proxy bench-memory bench-polite bench-prove bench-verify check test drivers deny fuzz fuzz-sessions clean-cache

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
	  while IFS='|' read -r name what; do printf '  make %-12s %s\n' "$$name" "$$what"; done

build: ## the program, optimised: target/release/highwater
	cargo build --release --locked -p highwater

demo: ## the whole story on this machine, on private MySQL servers (DEMO_ARGS="--json FILE" and others are passed on)
	@scripts/mysql.sh >/dev/null
	cargo build --release --locked -p highwater
	./target/release/highwater demo $(DEMO_ARGS)

bench-copy: ## copying, beside mydumper, mysqldump and clone (BENCH_ARGS="--rounds 1 --rows 20000" and others are passed on)
bench-follow: ## catching up and lag, beside MySQL's own replica (BENCH_ARGS as above)
bench-verify: ## proving two servers equal, beside a raw CRC scan, pt-table-checksum, and mysqldump and diff (BENCH_ARGS as above)
bench-prove: ## ten minutes at load: whether proving what was written keeps up (BENCH_ARGS as above)
bench-polite: ## what a copy does to the latency of the source's own clients, throttled or not, beside it or aside (BENCH_ARGS as above)
bench-memory: ## the memory it takes to copy, and compare, 10 M narrow rows (BENCH_ARGS="--rows 1000000" and others)
bench-cutover: ## moving a busy shop over and back, beside native replication by hand (BENCH_ARGS="--rounds 1" and others)
bench-proxy: ## the front door, beside HAProxy and MySQL Router (BENCH_ARGS=--tls for TLS on both hops; others as above)
bench-clients: ## 18,000 clients on 200 connections: memory, queries, all reconnecting at once (BENCH_ARGS=--tls for as many under TLS after them)
bench-clients bench-copy bench-cutover bench-follow bench-memory bench-polite bench-proxy bench-prove bench-verify: bench-%: build
	@scripts/mysql.sh >/dev/null
	cargo build --release --locked -p bench
	./target/release/bench $* $(BENCH_ARGS)

drivers: build ## drivers' own test suites, at a server and through the front door (BENCH_ARGS="--only pymysql,mysql2")
	@scripts/mysql.sh >/dev/null
	cargo build --release --locked -p bench
	./target/release/bench drivers $(BENCH_ARGS)

check: ## formatting and lints, no tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

test: ## all that must pass before a change lands: check, then every test on private MySQL servers
	@scripts/mysql.sh >/dev/null
	@if [ -e scripts/test-tools.sh ]; then bash scripts/test-tools.sh; fi
	@$(MAKE) --no-print-directory check
	cargo test --workspace --locked

fuzz: ## every decoder against bytes nobody meant to send, guided by coverage (FUZZ_SECONDS=60 each, FUZZ_ARGS="--keep rows")
	RUSTC_WORKSPACE_WRAPPER="$(CURDIR)/crates/fuzz/rustc-with-counters" CARGO_TARGET_DIR=target/fuzz \
	  cargo build --locked --profile fuzz -p fuzz --bin fuzz
	./target/fuzz/fuzz/fuzz --seconds $${FUZZ_SECONDS:-60} $(FUZZ_ARGS)

fuzz-sessions: ## random clients through the front door beside direct ones, byte by byte (HIGHWATER_FUZZ_STEPS=100000 for each of 24)
	@scripts/mysql.sh >/dev/null
	HIGHWATER_FUZZ_STEPS=$${HIGHWATER_FUZZ_STEPS:-100000} CARGO_TARGET_DIR=target/fuzz \
	  cargo test --locked --profile fuzz -p proxy --test sessions -- --nocapture

deny: ## licences and sources of the dependencies, see deny.toml
	@cargo deny --version >/dev/null 2>&1 || { printf '%s\n' 'error: cargo-deny is not installed' \
	  'state: nothing was checked' 'hint:  cargo install --locked cargo-deny' >&2; exit 1; }
	cargo deny --locked check licenses bans sources

clean-cache: ## remove the fetched MySQL server and the prepared data folders
	rm -rf "$${HIGHWATER_CACHE:-.cache}"/{mysql,mysql.lock,mysql-data}
