//! keener on burn: objectives as differentiable operations, heads and the training loop.
