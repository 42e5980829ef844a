"""Images of this project: what they are made of, the Debian base below them, and how they are built."""
