"""Credit grants, and how they are spent and given back."""
