"""A user's own words as classes: a table of words becomes a head, with or without labelled clips."""
