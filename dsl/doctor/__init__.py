"""The recipe as checks: what is looked at before anybody waits for a training (docs/doctor.md).

Each check is a function of its own file, from a `Subject` to findings. Values come from the reference, gradients from a backend that
differentiates.
"""
