"""Floor 0, words: frozen data that everybody passes around. No clock is read here and nothing is done."""
