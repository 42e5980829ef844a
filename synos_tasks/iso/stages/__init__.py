"""The stages of a build, one file each. Each takes a Workshop and returns the bytes it made."""
