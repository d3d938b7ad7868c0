"""The command line ``mlffd``: thin; everything heavy is imported by the command that needs it."""
