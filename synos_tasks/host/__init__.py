"""Facts about the machine and what they mean for a build. No Docker, no Invoke, no terminal."""
