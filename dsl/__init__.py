"""dslc: neural networks as readable specs, compiled to PyTorch, JAX and ONNX, and proved equal."""
