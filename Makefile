# `make ready` runs every check; it is the test command of the README, word for word.
.PHONY: ready serve format lock

LOCK = .venv/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock"

ready:
	python3 -m venv .venv && .venv/bin/pip install -q --require-hashes -r requirements/dev.txt && .venv/bin/pip install -q --no-deps --no-build-isolation -e . && .venv/bin/python -m tests.ready

serve:
	.venv/bin/facade serve

format:
	.venv/bin/ruff check --fix-only --quiet
	.venv/bin/ruff format

# Needs uv in the environment: `.venv/bin/pip install uv`.
lock:
	$(LOCK) pyproject.toml --extra embedded --group build --output-file requirements/serve.txt
	$(LOCK) pyproject.toml --extra embedded --extra tokens --group build --group dev \
		--constraint requirements/serve.txt --output-file requirements/dev.txt
	$(LOCK) --group node --output-file requirements/node.txt
