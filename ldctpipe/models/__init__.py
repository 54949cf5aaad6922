"""Networks: one file an architecture, plain modules that know tensors only."""
