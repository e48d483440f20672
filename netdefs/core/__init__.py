"""The definition layer: which TensorRT, .wts, weights, `Network`, blocks."""
