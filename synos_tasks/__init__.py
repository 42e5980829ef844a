"""SynOS tasks: the verbs with which the developers of SynOS build, boot and check it."""

__version__ = "0.1.0"
