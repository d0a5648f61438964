"""Everything around the reports that a demonstration needs: a server, a worker, and somebody who tries them."""
