"""What tests and lints this repository."""
