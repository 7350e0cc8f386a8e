"""The labels that images of ours bear for the smoke test: how to ask what runs in them."""

PROBE_LABEL = "bitnet-provision.probe"  # a program in the image that makes a request to it
PORT_LABEL = "bitnet-provision.port"
SERVES_LABEL = "bitnet-provision.serves"  # one of `bake.SERVES`
SECRETS_LABEL = "bitnet-provision.secrets"  # variables that it does not start without
DRAINS_LABEL = "bitnet-provision.drains"
