# make demo: set everything up and run the main job.  make test: set everything up and run the tests.  make check: all that CI checks.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DELETE_ON_ERROR:
.PHONY: help demo test test-all fuzz-input learn systems gallery fuzz check mutants format docs bench clean faults

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --no-compile --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

## make demo    a convolutional spec trained on real digits, its curve, three targets, the same answers everywhere
demo: $(READY)
	$(BIN)/python examples/digits.py

## make test    the tests
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

## make test-all   the tests, and those that take too long for every run: every system on every target, trainings, 200 kills
test-all: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "slow or not slow"

## make learn   the trainings that take too long for every run: that specs learn what they should
learn: $(READY)
	XLA_FLAGS= OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/test_learning.py -m slow --durations=0

## make systems   the checks of the systems of docs/systems.tsv, and the page docs/systems.md; FAMILY=cnn or ID=vgg for a part, without the page
SYSTEMS = $(if $(FAMILY)$(ID),$(addprefix --family=,$(FAMILY)) $(addprefix --id=,$(ID)),--systems-page=docs/systems.md)
systems: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "slow or not slow" $(SYSTEMS)

## make fuzz    N=1000 random specs against every oracle of docs/fuzzing.md; a folder for each finding in build/fuzz
N ?= 1000
SEED ?= 0
fuzz: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --count $(N) --seed $(SEED) $(if $(JOBS),--jobs $(JOBS))

## make fuzz-input N=10000   damaged and random files, settings and arrays, N of each kind; what is found goes to build/fuzz-input
fuzz-input: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz_input -n $(N) --seed $(SEED)

## make mutants   small mistakes in the shape rules, the simplifications and the ONNX rows, and whether the tests see them: docs/mutants.md
mutants: $(READY)
	$(BIN)/python -m tests.mutation

## make check   format, lint, types, tests
check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --num-workers 2
	$(MAKE) test

## make format  format the code and mend what the linter can mend
format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

## make gallery    docs/gallery.md: the picture and the layers of every spec, the simple families first
FIRST = linear mlp cnn vision segmentation detection recurrent attention memory language autoencoder autoregressive gan flow rl
FAMILIES = $(FIRST) $(filter-out $(FIRST) examples,$(notdir $(patsubst %/,%,$(wildcard specs/*/))))
gallery: $(READY)
	$(BIN)/dslc show --markdown -o docs/gallery.new $(foreach family,$(FAMILIES),$(sort $(wildcard specs/$(family)/*.dl)))
	cat docs/gallery.head.md docs/gallery.new > docs/gallery.md
	rm docs/gallery.new

## make docs    write the generated pages again
docs: $(READY)
	$(BIN)/dslc ops --markdown -o docs/ops.md
	$(BIN)/dslc explain --markdown -o docs/errors.md
	$(BIN)/python benchmarks/line_counts.py

## make faults  check the seeded faults of tests/faults, let the doctor look at what the check misses, and write docs/faults.md
faults: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults

## make bench   compare with what a user would write by hand
bench: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
