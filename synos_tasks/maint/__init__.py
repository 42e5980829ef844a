"""`inv maint.*`: show, remove and copy what this clone owns."""
