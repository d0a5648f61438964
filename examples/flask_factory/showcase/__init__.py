"""Everything around the library that a demonstration needs: files to upload, and what a person would try."""
