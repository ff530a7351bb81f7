"""`research-spawner try`: a real hub with an administrator's own settings, on the embedded cluster of this machine."""
