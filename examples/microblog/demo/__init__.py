"""Everything around the microblog that a demonstration needs: a worker, a mail server to look into, and a visitor."""
