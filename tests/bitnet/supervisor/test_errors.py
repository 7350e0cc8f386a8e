from __future__ import annotations

import pickle

import pytest

from bitnet import errors

EXAMPLES = [
    errors.RuntimeFailure("it broke", why="it was old", next_step="buy a new one"),
    errors.InvalidInput("no"),
    errors.BinaryNotFound("no llama-cli", why="tried a, b", next_step="deploy native build"),
    errors.LaunchFailed("x failed", command=["x", "y"], returncode=3, stdout="o", stderr="e"),
    errors.RuntimeTimeoutError(timeout=1.5, command=["x"], stdout="o", stderr="e"),
    errors.CircuitOpen("gpu", retry_after=3),
    errors.QueueFull(7),
    errors.ResourcesImpossible({"gpu": 3, "cpu": 1}, {"gpu": 2, "cpu": 1}),
    errors.CommandRefused(["rm", "-rf"], ["llama-cli"]),
    errors.MissingExtra("ray", "ray"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_fact_survives_the_way_between_processes(error: errors.RuntimeFailure) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


def test_an_error_says_what_why_and_what_now() -> None:
    assert str(EXAMPLES[0]) == "it broke\nit was old\nnext: buy a new one"
    assert str(errors.InvalidInput("no")) == "no"


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.InvalidInput("x"), ValueError),
        (errors.BinaryNotFound("x"), FileNotFoundError),
        (errors.RuntimeTimeoutError(timeout=1), TimeoutError),
        (errors.CommandRefused([], []), PermissionError),
        (errors.MissingExtra("grpc", "grpcio"), ImportError),
    ],
)
def test_who_catches_pythons_own_classes_catches_ours(error: Exception, builtin: type[Exception]) -> None:
    assert isinstance(error, builtin)


def test_what_is_too_much_is_named_with_what_there_is() -> None:
    assert "gpu 3 of 2" in str(errors.ResourcesImpossible({"gpu": 3, "cpu": 1}, {"gpu": 2, "cpu": 1}))
    assert "cpu" not in str(errors.ResourcesImpossible({"gpu": 3, "cpu": 1}, {"gpu": 2, "cpu": 1}))


def test_a_missing_package_is_named_with_the_extra_that_brings_it() -> None:
    assert "pip install 'bitnet-provision[ray]'" in str(errors.MissingExtra("ray", "ray"))
