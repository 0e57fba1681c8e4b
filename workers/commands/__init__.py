"""The commands of `cpdfeed`: shells around what the rest of the project, or its service, does."""
