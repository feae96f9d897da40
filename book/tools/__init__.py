"""What executes, checks and builds the book. Each module is a command: ``python -m book.tools.NAME``."""
