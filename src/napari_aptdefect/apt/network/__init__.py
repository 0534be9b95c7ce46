"""The graph network: superpoints, Chebyshev filters with species-aware edges, attention, training and inference.

Importing the package loads neither torch nor PyTorch Geometric; its modules `layers`, `model`, `training` and
`inference` do.
"""
