"""The benchmark: every method on every level over several wires, in parallel, resumable, with the same yardstick."""
