"""Images of ours: what they are made of, the Debian base under them, and how they are built. Knows no room."""
