"""Losses of the flow, all in units of the error that is left to make at each flow time."""

from __future__ import annotations

from typing import NamedTuple

from protein_lab.backends import Array, Backend
from protein_lab.models.base import FieldPrediction
from protein_lab.operators.embedding import pair_distance

BOND_WEIGHT = 0.5
CONTACT_WEIGHT = 0.25
SIGMA_WEIGHT = 0.05
CONTACT_DISTANCE = 6.5
"""Carbon-nitrogen distance up to which residues can share a hydrogen bond, angstrom."""


class Totals(NamedTuple):
    """What losses are divided by, where a batch is computed in pieces: counts of all of it.

    Attributes
    ----------
    residues, contacts : Array, shape=()
        Residues, and pairs of residues that are close in the target.
    """

    residues: Array
    contacts: Array


def loss_totals(
    backend: Backend,
    target: Array,
    mask: Array,
    contact_distance: float = CONTACT_DISTANCE,
) -> Totals:
    """Count what the losses of a batch are divided by; parameters as in :func:`flow_losses`."""
    near = _near(backend, target, mask, contact_distance)[1]
    return Totals(backend.sum(mask, axis=(0, 1)), backend.sum(near, axis=(0, 1, 2)))


def flow_losses(
    backend: Backend,
    predicted: FieldPrediction,
    target: Array,
    mask: Array,
    scale_out: Array,
    contact_distance: float = CONTACT_DISTANCE,
    totals: Totals | None = None,
) -> tuple[Array, dict[str, Array]]:
    """Total loss and its parts.

    ``field`` is the flow matching loss; ``bonds`` the same on differences of consecutive atoms
    (the Cameron-Martin norm of the polymer prior); ``contacts`` on carbon-nitrogen distances
    of residues that are close in the target; ``sigma`` the negative log-likelihood of the
    predicted uncertainty with the mean held fixed.

    Parameters
    ----------
    backend : Backend
    predicted : FieldPrediction
    target : Array, shape=(batch, point, atom, 3)
        Clean field, angstrom.
    mask : Array, shape=(batch, point)
        One where there is a residue.
    scale_out : Array, shape=(batch,)
        Size of the error that is left at each chain's flow time, angstrom.
    contact_distance : float
        Distance from the first atom of a residue to the last of another up to which residues
        count as close, angstrom.
    totals : Totals, optional
        Counts of the whole batch where this is a piece of it, so that losses and gradients of the
        pieces add up to those of the whole.

    Returns
    -------
    loss : Array, shape=()
    parts : dict of str to Array
    """
    xp = backend
    inverse = 1.0 / scale_out
    count = xp.sum(mask, axis=(0, 1)) if totals is None else totals.residues
    near = _near(xp, target, mask, contact_distance)
    num_near = xp.sum(near[1], axis=(0, 1, 2)) if totals is None else totals.contacts
    difference = (predicted.mean - target) * inverse[:, None, None, None]
    squared = xp.sum(difference * difference, axis=(2, 3)) * (1.0 / (3 * target.shape[2]))
    parts = {
        "field": xp.sum(squared * mask, axis=(0, 1)) / count,
        "bonds": _bond_loss(xp, difference, mask) / count,
        "contacts": _contact_loss(xp, predicted.mean, near, inverse) / num_near,
    }
    # log_sigma is in angstrom; relative to the scale it is of order one
    relative = predicted.log_sigma + xp.log(inverse)[:, None]
    likelihood = relative + 0.5 * xp.stop_gradient(squared) * xp.exp(-2.0 * relative)
    parts["sigma"] = xp.sum(likelihood * mask, axis=(0, 1)) / count
    loss = (
        parts["field"]
        + BOND_WEIGHT * parts["bonds"]
        + CONTACT_WEIGHT * parts["contacts"]
        + SIGMA_WEIGHT * parts["sigma"]
    )
    return loss, parts


def _bond_loss(backend: Backend, difference: Array, mask: Array) -> Array:
    """Squared errors of the vectors between consecutive atoms, summed over residues."""
    batch, size, atoms = difference.shape[:3]
    chain = backend.reshape(difference, (batch, size * atoms, 3))
    steps = chain[:, 1:] - chain[:, :-1]
    atom_mask = backend.reshape(backend.stack([mask] * atoms), (batch, size * atoms))
    both = atom_mask[:, 1:] * atom_mask[:, :-1]
    total = backend.sum(backend.sum(steps * steps, axis=2) * both, axis=(0, 1))
    return total * (1.0 / (3 * atoms))


def _near(
    backend: Backend, target: Array, mask: Array, contact_distance: float
) -> tuple[Array, Array]:
    """Carbon-nitrogen distances of the target, and one for pairs of residues that are close."""
    true = pair_distance(backend, target[:, :, 0], target[:, :, -1])
    both = mask[:, :, None] * mask[:, None, :]
    return true, backend.where(true < contact_distance, both, both * 0.0)


def _contact_loss(
    backend: Backend, mean: Array, pairs: tuple[Array, Array], inverse: Array
) -> Array:
    """Squared errors of carbon-nitrogen distances of the given pairs, summed over them."""
    true, near = pairs
    drawn = pair_distance(backend, mean[:, :, 0], mean[:, :, -1])
    error = (drawn - true) * inverse[:, None, None]
    # far-off contacts at early times must not drown the rest
    bounded = error * error / (1.0 + 0.1 * error * error)
    return backend.sum(bounded * near, axis=(0, 1, 2))
