"""What is done outside of a spec, by a program of its own: interfaces to the packages that do it, and the tensors that come of it."""
