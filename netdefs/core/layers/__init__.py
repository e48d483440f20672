"""The primitives of a `Network`, by family. Their arguments and defaults are PyTorch's."""
