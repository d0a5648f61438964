"""Floor 3, client: what applications use. It knows words, rules and doors; brokers are opened by ``app`` alone."""
