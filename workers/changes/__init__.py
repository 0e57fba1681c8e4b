"""From pages to the change log: the diff, the scan, the witness, the commit."""
