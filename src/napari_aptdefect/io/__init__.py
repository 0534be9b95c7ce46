"""Readers and writers, one module per format family; `read` looks at the content of a file first."""
