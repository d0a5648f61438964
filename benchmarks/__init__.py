"""Cherga measured beside the bare engine loop and a peer, in one run on one machine: ``./dev bench``."""
