"""The families of guides, one a file."""
