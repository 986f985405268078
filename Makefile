# Two commands are enough: `make book` and `make test`. Each makes the environment first.

PYTHON ?= python3
VENV := .venv
# Windows (Git Bash, MSYS) puts a venv's programs into Scripts, everything else into bin.
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY := $(BIN)/python
# The index that holds torch's CPU wheels; give another one for CUDA or ROCm.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
READY := $(VENV)/.ready

.PHONY: book test lab grade build model bench lock clean

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	# torch alone and first, without its CUDA companions: the extra index would slow every other package down.
	$(PY) -m pip install -q --disable-pip-version-check --no-deps --retries 1 --extra-index-url $(TORCH_INDEX) "$$(grep '^torch==' requirements.lock)"
	$(PY) -m pip install -q --disable-pip-version-check -r requirements.lock
	$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

# The book from the stored outputs of its notebooks; a second run only renders what changed.
book: $(READY)
	$(BIN)/jupyter-book build . -W -n --keep-going -q

# Everything: re-runs and compares every notebook, runs the tests, builds the book cleanly, grades.
test: export OMP_NUM_THREADS := 1
test: $(READY)
	$(PY) -m pytest -n 2 --dist loadfile

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
	$(PY) -m pip install -q --disable-pip-version-check -r bench/requirements.txt
	set -e; for name in tokens book counting optimizers speedups lookups generation flops time_to_loss modern_blocks real_sizes long; do $(PY) bench/$$name.py > bench/$$name.out; mv bench/$$name.out bench/$$name.md; done

# torch is named without the companions of its CUDA build, which a laptop has no use for.
CUDA := cuda-bindings cuda-pathfinder cuda-toolkit triton nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
	nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver \
	nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx
lock:
	uv pip compile --universal --python-version 3.11 --extra book --extra test pyproject.toml \
		--output-file requirements.lock --no-header --no-annotate $(CUDA:%=--no-emit-package %)

clean:
	rm -rf $(VENV) _build
