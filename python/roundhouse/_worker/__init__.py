"""What runs on the remote side: a process that takes calls from its daemon and runs the user's code."""
