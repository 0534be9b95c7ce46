"""The yardstick: what a claim about an ion cloud is worth, held against the truth."""
