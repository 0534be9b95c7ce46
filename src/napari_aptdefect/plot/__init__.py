"""Figures with matplotlib: Axes in, Axes out; nothing here opens a window."""
