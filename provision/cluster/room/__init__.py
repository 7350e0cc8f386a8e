"""Whether a cluster has room for what is to come, as its quotas and nodes say."""
