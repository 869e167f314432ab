"""Commands that measure every figure which the README quotes."""
