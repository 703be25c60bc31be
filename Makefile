# Everything a bare Debian 12 machine needs is set up by these targets; `make help` lists them.

PY      := .venv/bin/python
BUILD   := build/release
JOBS    ?= $(shell nproc)
SECONDS ?= 300
N       ?= 1000
SEED    ?=

.DEFAULT_GOAL := help
.PHONY: help build demo test bench faults sanitize fuzz format lint clean
.PHONY: system product test-deps cpp-tests python-tests wheel-test short-fuzz

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

build: product ## build everything a user gets; afterwards .venv can import roundhouse

demo: product ## run the main job: a trainer on a local cluster, called by several threads at once, then by curl, the command line and C++
	@tools/setup.sh venv examples
	@ninja -C $(BUILD) -j$(JOBS) --quiet ask_digits
	@echo "==> demo: examples/digits.py"
	@$(PY) examples/digits.py

test: lint cpp-tests python-tests wheel-test short-fuzz ## run every test that no other target names
	@echo "==> skipped C++ tests (skipped Python tests stand in pytest's summary above)"
	@grep -B2 -h '^\[  SKIPPED \] .* ms)' $(BUILD)/Testing/Temporary/LastTest.log || echo "none"
	@echo "==> all tests passed"

bench: product ## measure, each figure beside its raw baseline of the same run
	@tools/setup.sh venv examples torch
	@tools/setup.sh bench
	@echo "==> bench: building benchmarks"
	@ninja -C $(BUILD) -j$(JOBS) --quiet
	@echo "==> bench: benchmarks/run.py"
	@$(PY) benchmarks/run.py

faults: product ## provoke N=n faults around real calls, in random order from SEED=n, and print what their callers were told
	@ninja -C $(BUILD) -j$(JOBS) --quiet roundhoused_faulty
	@echo "==> faults"
	@$(PY) -m tests.faults N=$(N) SEED=$(SEED)

sanitize: system ## run the C++ tests under the address, undefined and thread sanitizers
	@tools/sanitize.sh address,undefined build/asan $(JOBS)
	@tools/sanitize.sh thread build/tsan $(JOBS)

fuzz: system ## fuzz every decoder, SECONDS=n altogether
	@tools/setup.sh fuzz
	@tools/fuzz.sh $(JOBS) for $(SECONDS)

format: system ## format C++ and Python
	@tools/setup.sh venv test format
	@echo "==> format"
	@find src include examples benchmarks tests \( -name '*.h' -o -name '*.cpp' \) -print0 2>/dev/null \
	  | xargs -0 -r .venv/bin/clang-format -i
	@.venv/bin/ruff format --quiet . && .venv/bin/ruff check --quiet --fix .

lint: test-deps ## layers and style (tools/tidy.py), ruff, mypy
	@echo "==> lint: tools/tidy.py"
	@$(PY) tools/tidy.py
	@echo "==> lint: ruff"
	@.venv/bin/ruff check --quiet .
	@echo "==> lint: mypy"
	@.venv/bin/mypy --no-error-summary

clean: ## remove what was built (.venv and the compiler cache stay)
	@echo "==> removing build/ and the links into it"
	@rm -rf build python/roundhouse/_bin python/roundhouse/_engine*.so .venv/bin/roundhouse .venv/bin/rh .mypy_cache .ruff_cache .pytest_cache
	@find python tests tools examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# --- steps of the above ---

system:
	@tools/setup.sh system

$(BUILD)/build.ninja:
	@echo "==> configuring $(BUILD)"
	@mkdir -p $(BUILD)
	@cmake -S . -B $(BUILD) -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=gcc -DCMAKE_CXX_COMPILER=g++ \
	  -DPython_EXECUTABLE="$(CURDIR)/$(PY)" >$(BUILD)/configure.log 2>&1 \
	  || { cat $(BUILD)/configure.log; rm -f $@; exit 1; }

product: system
	@tools/setup.sh venv
	@$(MAKE) -s --no-print-directory $(BUILD)/build.ninja
	@echo "==> building (ninja, $(JOBS) jobs)"
	@ninja -C $(BUILD) -j$(JOBS) --quiet product
	@tools/setup.sh link $(BUILD)

test-deps: system
	@tools/setup.sh venv test torch
	@tools/setup.sh browser

cpp-tests: product test-deps lint
	@echo "==> building the C++ tests"
	@ninja -C $(BUILD) -j$(JOBS) --quiet
	@echo "==> C++ tests and link checks"
	@ctest --test-dir $(BUILD) --output-on-failure -j$(JOBS)

python-tests: product test-deps cpp-tests
	@echo "==> Python tests"
	@$(PY) -m pytest $(wildcard tests/python tests/doors tests/http tests/integration tests/e2e tests/docs tests/embedding tests/cli tests/faults)

wheel-test: product python-tests
	@echo "==> wheel: build, install into a fresh environment, call"
	@$(PY) tools/check_wheel.py

short-fuzz: wheel-test
	@tools/setup.sh fuzz
	@tools/fuzz.sh $(JOBS) runs 500000
