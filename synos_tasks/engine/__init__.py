"""The gateway to Docker: the only package that imports python_on_whales, and the only one that starts `docker`."""
