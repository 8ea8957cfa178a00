"""Syntax to graph: binds hyper-parameters, runs what is static, and instantiates each module once per hyper-parameters and input types."""
