"""From the inbox to what has to be read: the lease, the claim, the plan."""
