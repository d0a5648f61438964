"""A library of photos and sound notes: what the server, the tasks and the factory are made of."""
