"""Worker: claims jobs, runs them and writes down what became of them. It knows the client, never a broker by name."""
