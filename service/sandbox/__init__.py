"""An emulator of the upstream learning platform that speaks real HTTP.

Start it with `python -m service.sandbox`, or serve `create_app(Platform(…))` in a test. It imports
nothing of the rest of the project, so what it says of its own history can judge the rest.
"""

from service.sandbox.app import create_app
from service.sandbox.platform import Options, Platform, Tenant

__all__ = ["Options", "Platform", "Tenant", "create_app"]
