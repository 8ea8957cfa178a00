"""The parts of `dslc verify`: sizes and inputs to compare at, tolerances, and where two computations part."""
