"""The platform's API: one paced request at a time, its tokens, its pages.

API: *Query CPD requirements* and *Get CPD requirement* of the Thrive Learning public API.
"""
