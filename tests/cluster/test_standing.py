"""What a pod says of itself, and whether waiting helps."""

import pytest

from provision.cluster.standing import hopeless

_BUSY = 'failed to reserve container name "web"; check if another CreateContainer request is in progress: name "web"'


@pytest.mark.parametrize(
    ("reason", "message", "helps"),
    [
        ("ContainerCreating", "", True),
        ("CreateContainerError", "context deadline exceeded", True),
        ("CreateContainerError", _BUSY, True),
        ("CreateContainerError", "no command specified", False),
        ("ImagePullBackOff", "Back-off pulling image: context deadline exceeded", False),
        ("CrashLoopBackOff", "back-off 10s restarting failed container", False),
    ],
)
def test_a_pod_is_given_up_on_where_waiting_does_not_help(reason: str, message: str, helps: bool) -> None:
    """A slow disk, on which a large image is unpacked, is waited for; its deadline is the Deployment's."""
    waiting = {"state": {"waiting": {"reason": reason, "message": message}}}

    assert (hopeless({"status": {"containerStatuses": [waiting]}}) == "") is helps
