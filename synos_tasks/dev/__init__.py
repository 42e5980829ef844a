"""`inv dev.*`: development containers, by the Dev Container specification (https://containers.dev)."""
