"""Random well-typed specs, and what must hold of every one of them: `make fuzz N=10000`. docs/fuzzing.md says how it works."""
