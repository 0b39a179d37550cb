"""Everything that the report trains, and what it says of it."""
