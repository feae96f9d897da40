"""Networks: many copies as one tensor, initial values, losses, the papers' networks."""
