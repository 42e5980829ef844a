"""`inv services.*`: what the developers of SynOS share, in containers that keep running."""
