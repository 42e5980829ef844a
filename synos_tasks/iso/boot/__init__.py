"""Start an ISO in QEMU and read what it reports of itself.

Runs inside the synos-boot container, standard library only.
"""
