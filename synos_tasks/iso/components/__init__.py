"""Components: what SynOS compiles itself, from a recipe in docker/build/components to a .deb in the store.

Runs in the toolchain image; recipes and keys are read on the host too.
"""
