"""The stages of a build, one file each; iso/layers.py and iso/run.py call them."""
