"""Components: what SynOS compiles itself, from a recipe to a .deb in the store; read on the host, compiled elsewhere."""
