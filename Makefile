# Everything a developer runs. `make` alone lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build demo bench-clients bench-copy bench-cutover bench-follow bench-proxy bench-memory bench-polite bench-prove bench-verify check test deny fuzz fuzz-sessions clean-cache

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
deny: ## licences and sources of the dependencies, see deny.toml
	@cargo deny --version >/dev/null 2>&1 || { printf '%s\n' 'error: cargo-deny is not installed' \
	  'state: nothing was checked' 'hint:  cargo install --locked cargo-deny' >&2; exit 1; }
	cargo deny --locked check licenses bans sources

clean-cache: ## remove the fetched MySQL server and the prepared data folders
	rm -rf "$${HIGHWATER_CACHE:-.cache}"/{mysql,mysql.lock,mysql-data}
