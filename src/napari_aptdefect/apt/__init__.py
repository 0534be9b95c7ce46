"""The atom probe stages, one module each; they do not import each other, `pipeline` joins them."""
