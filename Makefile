# The short names of what one does with kvtier. Thin: the work is in CMake and tools/scripts.
PREFIX ?= /usr/local
PRESET ?= release
S := tools/scripts

.PHONY: build deps demo test test-engines cuda test-gpu demo-engine bench bench-peers fuzz tidy format format-check install uninstall clean help

build: ## build (PRESET=release|dev|asan|tsan)
	@cmake --preset $(PRESET) && cmake --build --preset $(PRESET)

deps: ## install missing packages (Debian 12, root or sudo)
	@$(S)/deps.sh

demo: ## install what is missing, build, replay a trace (TRACE=FILE) with real bytes
	@$(S)/demo.sh

test: ## install what is missing, build, run all tests, sanitizers and checks
	@$(S)/test.sh

test-engines: ## the Python package and vLLM, Transformers on a real daemon (installs them: 2.5 GB)
	@$(S)/engines.sh test

cuda: ## compile the CUDA code for sm_80, sm_90 and sm_100 (fetches nvcc when the machine has none)
	@$(S)/cuda.sh compile

test-gpu: ## everything that needs a GPU, also under compute-sanitizer, into docs/benchmarks/gpu-<model>.md
	@$(S)/gpu.sh

demo-engine: ## a conversation in vLLM, without and with kvtier (MODEL=FOLDER, else random weights)
	@$(S)/engines.sh demo $(if $(MODEL),--model $(MODEL))

bench: ## all benchmarks beside their limits (BENCH="lookup load")
	@$(S)/bench.sh

bench-peers: ## Redis, Mooncake and LMCache beside ours, into docs/benchmarks
	@$(S)/bench_peers.sh

fuzz: ## run every fuzz target for FUZZ_SECONDS (60) each, on a corpus that is kept
	@$(S)/fuzz.sh

tidy: ## clang-tidy on the whole tree
	@$(S)/tidy.sh --all

format: ## clang-format on the whole tree
	@$(S)/format.sh

format-check: ## say which files are not formatted
	@$(S)/format.sh --check

install: ## install below PREFIX (/usr/local), staged below DESTDIR
	@$(MAKE) --no-print-directory build PRESET=release
	@DESTDIR="$(DESTDIR)" cmake --install build/release --prefix "$(PREFIX)"
	@[ -n "$(DESTDIR)" ] || [ "$$(id -u)" -ne 0 ] || ldconfig

uninstall: ## remove what `make install` placed
	@DESTDIR="$(DESTDIR)" $(S)/uninstall.sh

clean: ## remove everything that was built
	@rm -rf build

help: ## this list
	@awk -F': ## ' '/^[a-z-]+: ## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
