"""Faces, contrib: one flat file per framework integration, holding only what that framework is about."""
