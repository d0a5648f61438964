"""Floor 2, doors: the protocols that brokers fulfil."""
