"""What the papers state, and the rules by which a chapter judges it."""
