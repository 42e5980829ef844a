"""The keys of a profile that set up the system, one file each. A new key is a new file here: see iso/key.py."""
