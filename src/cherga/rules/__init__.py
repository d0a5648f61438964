"""Floor 1, rules: pure functions and the values they work on. ``now`` and randomness are arguments."""
