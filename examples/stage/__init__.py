"""What the demonstrations of the examples share: the command, a site and a worker that run, and a visitor without a browser."""
