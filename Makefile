# Everything a newcomer needs: `make demo`, `make test`. `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Without .pyc files every Airflow process takes two to three times as long to start.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONPATH

.DEFAULT_GOAL := help
.PHONY: help install build demo env test test-live browser test-cluster datastores chaos lint lock clean bench page pictures

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## make .venv with the pinned packages

$(STAMP): requirements.txt constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) on the PATH; install Python 3.11 to 3.13, or say make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "make: $$($(PYTHON) --version) is not supported; Airflow 3.3 and this project need Python 3.11 to 3.13: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/pip install --quiet --disable-pip-version-check uv; }
	$(BIN)/uv pip install --quiet --compile-bytecode --only-binary :all: --python $(BIN)/python -r requirements.txt -c constraints.txt
	@touch $@

build: $(STAMP) ## the wheels gemini-checkpoint-tuning and vertex-tuning-emulator, in dist
	$(BIN)/uv build --quiet --wheel --out-dir dist .
	$(BIN)/uv build --quiet --wheel --out-dir dist vertex_emulator

demo: $(STAMP) ## the whole pipeline in a real Airflow; ARGS=--exit ends by itself, ARGS=--help lists the options
	@$(BIN)/python -m demo $(ARGS)

env: ## write .env, the secrets and the profile of docker-compose.yaml; never over an existing one
	@test ! -e .env || { echo "make: .env is there already and stays as it is; for new secrets: docker compose down -v, then delete it" >&2; exit 1; }
	@$(PYTHON) -c 'import base64, os, secrets as s; \
	  text = f"COMPOSE_PROFILES=emulator\nPOSTGRES_PASSWORD={s.token_hex(24)}\nREDIS_PASSWORD={s.token_hex(24)}\n"; \
	  text += f"AIRFLOW_FERNET_KEY={base64.urlsafe_b64encode(s.token_bytes(32)).decode()}\n"; \
	  text += f"AIRFLOW_JWT_SECRET={s.token_hex(64)}\nAIRFLOW_API_SECRET_KEY={s.token_hex(32)}\n"; \
	  text += f"AIRFLOW_ADMIN_PASSWORD={s.token_urlsafe(12)}\n"; \
	  os.write(os.open(".env", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), text.encode())'
	@echo "Wrote .env. Next: docker compose up, then http://localhost:8080 as admin with AIRFLOW_ADMIN_PASSWORD."

test: $(STAMP) lint browser ## lint, types, and all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

browser: # finds Chromium, or installs Debian's; without it the browser tests are skipped, which CI does not allow
	@command -v chromium chromium-browser google-chrome >/dev/null \
	  || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	       && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } \
	  || echo "make: no Chromium, so the browser tests are skipped; on Debian and Ubuntu: apt-get install chromium" >&2

test-cluster: $(STAMP) datastores ## docker-compose.yaml without containers: 20 runs, of which a worker and a triggerer die
	$(BIN)/python -m pytest tests/cluster $(ARGS)

datastores: # finds PostgreSQL and Redis, or installs Debian's
	@bash tests/cluster/datastores.sh

test-live: $(STAMP) ## the smallest real tuning job: PROJECT=… BUCKET=…, for money, once you say yes; EMULATOR=1 for nothing
	@$(BIN)/python -m tests.live $(if $(PROJECT),--project '$(PROJECT)') $(if $(BUCKET),--bucket '$(BUCKET)') \
	  $(if $(LOCATION),--location '$(LOCATION)') $(if $(MODEL),--model '$(MODEL)') \
	  $(if $(CONFIRM),--confirm '$(CONFIRM)') $(if $(EMULATOR),--emulator) $(ARGS)

chaos: $(STAMP) ## a real Airflow and the emulator, disturbed at random; ROUNDS=5 SEED=s, a number repeats a round
	@$(BIN)/python -m tests.chaos $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

page: ## build the script and style of the page in Airflow's UI; needs Node, the page itself does not
	cd plugins/gemini_tuning/ui/frontend && npm ci --no-fund --no-audit && npm run build && \
	  (cd node_modules && tail -n +1 echarts/NOTICE echarts/LICENSE zrender/LICENSE htmx.org/LICENSE tslib/LICENSE.txt) \
	  > ../static/LICENSES.txt && \
	  cat *.css *.js *.json | sha256sum | cut -d' ' -f1 > ../static/built-from.sha256

pictures: $(STAMP) ## remake README's pictures; needs Chromium
	@$(BIN)/python -m demo.pictures

lock: $(STAMP) ## remake constraints.txt from requirements.txt with the newest versions
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --only-binary :all: \
	  --no-emit-index-url --no-header --no-annotate requirements.txt -o constraints.txt

clean: ## remove .venv and what the demo wrote
	rm -rf $(VENV) dist .demo .chaos .cluster .bench .live .mypy_cache .pytest_cache .ruff_cache

bench: $(STAMP) ## this project beside what people use today; ONLY="parse waits" for some; results in .bench
	@$(BIN)/python -m tests.benchmarks $(if $(ONLY),--only $(ONLY)) $(ARGS)
