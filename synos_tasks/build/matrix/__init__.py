"""`inv build.matrix`: many ISOs, whose common stages are made once."""
