"""`inv build.*`: ISOs, made in docker/build's containers and booted in them."""
