"""The stages of a build, one file each. A new stage is a new file here: see iso/stagespec.py."""
