"""Verbs about the machine and the project, which have no prefix: doctor, init, new-id."""
