"""What the web process and the workers must agree on: records, keys, codecs, settings, errors.

The lowest floor of the project: it imports nothing above it and does no I/O.
"""
