"""The web half of cpdfeed: it takes notifications in and hands changes out."""
