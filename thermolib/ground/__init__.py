"""What everything rests on: refusals of bad input, noise as a function, words."""
