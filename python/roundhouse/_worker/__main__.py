# The worker's command is this file's path, so that it starts without searching for anything, and the user's own script
# is never the __main__ of a worker. It keeps no name that user code could mistake for its own.
import sys

# Python put this folder in front; our module names would hide the user's.
sys.path[0] = __file__.rsplit("/", 3)[0]

from roundhouse._worker.runner import main as _main  # noqa: E402

# Processes that user code spawns run the file of its main module again, which here would be another worker.
del sys, __file__
if __name__ == "__main__":
    _main()
