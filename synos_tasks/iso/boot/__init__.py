"""Start an ISO in QEMU and read what it reports of itself: in the boot container, standard library only."""
