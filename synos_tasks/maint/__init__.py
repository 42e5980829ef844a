"""`inv maint.*`: what is there, what of it is ours, and what can go."""
