"""The WWW-Authenticate header, in the forms that registries send."""

import pytest

from provision.images.registry.challenge import Challenge, challenges

HEADERS = [
    (
        'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
        [
            Challenge(
                "bearer",
                {
                    "realm": "https://auth.docker.io/token",
                    "service": "registry.docker.io",
                    "scope": "repository:a/b:pull,push",
                },
            )
        ],
    ),
    ('Basic realm="a \\"quoted\\" realm"', [Challenge("basic", {"realm": 'a "quoted" realm'})]),
    ("Basic realm=bare , charset=UTF-8", [Challenge("basic", {"realm": "bare", "charset": "UTF-8"})]),
    (
        'Negotiate, Basic realm="x", BEARER Realm="y"',
        [Challenge("negotiate"), Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y"})],
    ),
    ("Negotiate YIIg==, Basic realm=x", [Challenge("negotiate"), Challenge("basic", {"realm": "x"})]),
    ('"nonsense', []),
    ("", []),
]


@pytest.mark.parametrize(("header", "offered"), HEADERS, ids=[header[:30] for header, _ in HEADERS])
def test_every_scheme_is_found_with_its_parameters(header, offered):
    assert challenges(header) == offered
