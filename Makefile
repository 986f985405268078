# Two commands are enough: `make book` and `make test`. Each makes the environment first.

PYTHON ?= python3
VENV := .venv
# Windows (Git Bash, MSYS) puts a venv's programs into Scripts, everything else into bin.
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY := $(BIN)/python
# The index that holds torch's CPU wheels; give another one for CUDA or ROCm.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
READY := $(VENV)/.ready
LOCK := requirements.lock
UV := .venv-uv/$(notdir $(BIN))/uv
PIP := $(PY) -m pip install -q --disable-pip-version-check

# In an unpacked archive the wheels lie beside this file, and no index is asked.
WHEELS := $(notdir $(wildcard wheels/torch-*.whl))
ifdef WHEELS
export PIP_NO_INDEX := 1
export PIP_FIND_LINKS := wheels
HINT := || { echo "wheels/ is for one Python and one kind of machine: $(WHEELS); try: make PYTHON=python3.11 ..." >&2; exit 1; }
endif

.PHONY: book test short lab grade build model bench pdf epub archive lasting lock lowest newest clean

$(READY): $(LOCK) pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	# torch alone and first, without its CUDA companions: the extra index would slow every other package down.
	$(PIP) --no-deps --retries 1 --extra-index-url $(TORCH_INDEX) "$$(grep '^torch==' $(LOCK))" $(HINT)
	$(PIP) -r $(LOCK)
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $(READY)

# The book from the stored outputs of its notebooks; a second run only renders what changed.
book: $(READY)
	$(BIN)/jupyter-book build . -W -n --keep-going -q

# Everything: re-runs and compares every notebook, runs the tests, builds the book cleanly, grades.
# A part: make test TESTS=tests/test_tokens.py
TESTS :=
test: export OMP_NUM_THREADS := 1
test: $(READY)
	$(PY) -m pytest -n 2 --dist loadfile $(TESTS)

# Library, sheets and grader, without the notebooks and the browser.
SHORT := $(patsubst %,tests/test_%.py,attention autograd build check counting data generation grade layers loss model optimizers \
	pretrained sheets smoothing standalone tokenizer_files tokens training vectors)
short: TESTS := $(SHORT)
short: test

lab: $(READY)
	$(BIN)/jupyter-lab

# A learner's standing over all sheets; it is their own code that runs.
grade: $(READY)
	$(PY) -m course grade exercises --unprotected

# Notebooks from their sources; runs only what changed.
build: $(READY)
	$(PY) -m course build

# Taleteller, the model that comes with the book, in two processes. Stopped, it goes on where it was.
model: export OMP_NUM_THREADS := 1
model: $(READY)
	$(PY) -m torch.distributed.run --standalone --nproc_per_node 2 -m course taleteller train
	$(PY) -m course taleteller judge > bench/taleteller.out && mv bench/taleteller.out bench/taleteller.md

# Each benchmark prints a Markdown table, which is recorded beside it.
bench: $(READY)
	$(PIP) -r bench/requirements.txt
	set -e; for name in tokens book counting optimizers speedups lookups generation flops time_to_loss modern_blocks real_sizes features long mixers standalone scaling experts roofline; do $(PY) bench/$$name.py > bench/$$name.out; mv bench/$$name.out bench/$$name.md; done
	$(PY) bench/experts.py --texts tales > bench/experts_tales.out && mv bench/experts_tales.out bench/experts_tales.md

# The book on paper, with page numbers (Chromium prints it), and for readers of e-books.
pdf: book
	$(PY) -m course.paper
epub: $(READY)
	$(BIN)/jupyter-book build . --builder custom --custom-builder epub --path-output _build/paper -q
	cp _build/paper/_build/epub/*.epub _build/

# One zip with the project, the rendered book and all wheels: what a machine without any index needs.
archive: $(READY)
	$(PY) -m course archive --torch-index $(TORCH_INDEX)

# What takes minutes and an index: the lock resolves on every platform, and the archive builds and tests the book.
lasting: $(READY) $(UV)
	UV=$(UV) $(PY) -m pytest -m lasting tests/test_lasting.py

# uv resolves versions. No reader needs it, so it has an environment of its own.
$(UV):
	$(PYTHON) -m venv .venv-uv
	.venv-uv/$(notdir $(BIN))/python -m pip install -q --disable-pip-version-check uv

# torch is named without the companions of its CUDA build, which a laptop has no use for.
CUDA := cuda-bindings cuda-pathfinder cuda-toolkit triton nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
	nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver \
	nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx
COMPILE = $(UV) pip compile -q --extra book --extra test pyproject.toml --no-header --no-annotate $(CUDA:%=--no-emit-package %)

lock: $(UV)
	$(COMPILE) --universal --python-version 3.11 --output-file requirements.lock

# `make short` with the lowest and with the newest versions that pyproject.toml allows, each in an environment of its own.
lowest: RESOLUTION := lowest-direct
newest: RESOLUTION := highest
lowest newest: $(UV)
	rm -rf .venv-$@ && mkdir .venv-$@
	$(COMPILE) --only-binary :all: --resolution $(RESOLUTION) --python $(PYTHON) --output-file .venv-$@/requirements.txt
	$(MAKE) short VENV=.venv-$@ LOCK=.venv-$@/requirements.txt

clean:
	rm -rf $(VENV) .venv-* _build
