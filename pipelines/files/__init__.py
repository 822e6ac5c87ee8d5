"""Image files and folders: read, checked, written whole or not at all."""
