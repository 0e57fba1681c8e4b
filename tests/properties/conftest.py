"""How long a property may take: machines differ, so no example has a deadline."""

from hypothesis import settings

settings.register_profile("cpdfeed", deadline=None, max_examples=200)
settings.load_profile("cpdfeed")
