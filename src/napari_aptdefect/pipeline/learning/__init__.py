"""Learning from simulated wires: lessons, training, the model's inputs, and its verdict on a cloud."""
