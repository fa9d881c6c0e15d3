# Two commands for a newcomer: `make demo` and `make test`. Each sets up .venv by itself.
PYTHON ?= python3
BIN := .venv/bin
FOLDERS := core trainer exporter server protos loadtest
PROTOS := inference tablefold

.PHONY: demo test check bench protos constraints clean

# Strict editable mode makes a tree of links that type checkers and linters can follow. A new or removed
# file changes its folder's time and installs again, which takes seconds.
INSTALLED := .venv/.installed
$(INSTALLED): pyproject.toml constraints.txt $(shell find $(FOLDERS) -type d -not -name __pycache__)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -C editable_mode=strict -e '.[train,export,serve,loadtest,dev]'
	touch $@

protos:
	.venv/bin/python -m grpc_tools.protoc -Itablefold/protos=protos --python_out=$(OUT) --grpc_python_out=$(OUT) \
	    --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --mypy_out=quiet:$(OUT) \
	    --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc --mypy_grpc_out=quiet:$(OUT) \
	    $(PROTOS:%=tablefold/protos/%.proto)
