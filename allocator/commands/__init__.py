"""The commands: thin calls of the library, one file a command."""
