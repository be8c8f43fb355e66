"""The command line ``microzone`` and what is behind each of its verbs."""
