"""Pages for people: HTML made from a catalog, with all that they need inside."""
