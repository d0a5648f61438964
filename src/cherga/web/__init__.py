"""Faces, web: what every web framework's integration shares. It knows no framework; each integration is one flat file."""
