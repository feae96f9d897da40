"""What the chapters, batches and the book share; it imports thermolib, never the other way."""
