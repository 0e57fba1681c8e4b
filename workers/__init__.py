"""The half of cpdfeed that works in the background, and what both halves share."""
