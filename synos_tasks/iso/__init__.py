"""The ISO engine: profile -> plan -> stages -> ISO.

The reading and planning part runs anywhere; `python -m synos_tasks.iso` runs in a container only.
Standard library and PyYAML, nothing else.
"""
