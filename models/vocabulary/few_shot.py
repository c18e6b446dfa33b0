"""Learns from a few labelled clips, starting from the weights that words give.

Each class is a logistic regression of its clips' mean embeddings whose Gaussian prior has the words' weights as its
mean (maximum a posteriori), as far as the clips bear them out (`words_share`). Without clips it is the words'
classifier, and with many clips the words fade. LP++ (Huang
et al. 2024, arXiv:2404.02285) and Tip-Adapter (Zhang et al. 2022, arXiv:2111.03930) mix words and clips for CLIP.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit

from models.heads.calibration import fit_temperature
from models.vocabulary.text_weights import TextWeights

Floats = NDArray[np.float64]

RIDGE = 0.003
"""Weight of the prior, for embeddings of root mean square length one. 0.003 to 0.03 perform about the same. Stronger
priors than that lose at four clips a class and more.
"""

BIAS_RIDGE = 3.0
"""The same for the bias, which few clips should hardly move: how many show a class says nothing of an archive."""

NEUTRAL_CLIPS = 8
"""Number of clips, of mean embedding zero, that are added to the labelled ones to find the archive's mean embedding.

The biases make up for what the changed weights add at that mean, so that no class gains everywhere. A mean of few clips
says more of these clips than of the archive. Chosen on random classes of ImageNet stills, where 4 to 16 perform about
the same. Only biases depend on it, so a class ranks clips as without it. See `TextWeights.neutral_zero`.
"""

FOLDS = 10
"""Most parts that held-out logits are computed with."""


class FewShot(NamedTuple):
    """A classifier that was learned from words and clips.

    Attributes:
        kernel: float64 [D, L].
        bias: float64 [L].
        temperature: The logits are divided by this; fitted on clips that were held out.
        held_out: float64 [clips, L], logits of each clip from the classifier that did not see its group.
    """

    kernel: Floats
    bias: Floats
    temperature: float
    held_out: Floats


def learn(words: TextWeights, clips: Sequence[Floats], targets: Floats, groups: Sequence[str]) -> FewShot:
    """Learn a classifier from words and clips; deterministic.

    Args:
        words: The classifier of the words alone.
        clips: Frame embeddings [T, D] of each clip.
        targets: float [clips, L]: 1 where a clip shows a class, else 0.
        groups: Of each clip; clips of one group are held out together.
    """
    means = np.stack([np.asarray(clip, np.float64).mean(axis=0) for clip in clips])
    folds = _folds(groups)
    logits: list[Floats] = [np.empty(0)] * len(clips)
    for fold in range(folds.max() + 1):
        kernel, bias = fit(words, means[folds != fold], targets[folds != fold])
        for index in np.flatnonzero(folds == fold).tolist():
            logits[index] = np.asarray(clips[index], np.float64) @ kernel + bias
    kernel, bias = fit(words, means, targets)
    temperature = fit_temperature(logits, targets, multi_label=True)
    return FewShot(kernel, bias, temperature, np.stack([one.mean(axis=0) for one in logits]))


def fit(words: TextWeights, means: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Return kernel [D, L] and bias [L] that fit clips, near those of the words.

    Args:
        words: The prior's mean.
        means: float [clips, D], mean embeddings.
        targets: float [clips, L]: 1 where a clip shows a class, else 0.
    """
    if not len(means):
        return words.kernel, words.bias
    share = words_share(words, means, targets)
    words = words._replace(kernel=share * words.kernel, bias=share * words.bias)
    centre = means.mean(axis=0)
    scale = float(np.sqrt(((means - centre) ** 2).sum(axis=1).mean())) or 1.0
    inputs = (means - centre) / scale
    products = inputs @ inputs.T
    before = means @ words.kernel + words.bias
    changes = np.stack([_change(products, before[:, k], 2 * targets[:, k] - 1) for k in range(targets.shape[1])])
    moved = inputs.T @ changes[:, :-1].T / scale
    usual = means.sum(axis=0) / (len(means) + (NEUTRAL_CLIPS if words.neutral_zero else 0))
    return words.kernel + moved, words.bias + changes[:, -1] - usual @ moved


def words_share(words: TextWeights, means: Floats, targets: Floats) -> float:
    """Return how much of the words' weights the clips bear out, from 0 to 1.

    It is the factor under which the words' logits, centred for each class, explain the clips best. The words were not
    fitted on these clips, so the comparison is fair however few there are. 1 if no class has clips that show it and
    clips that do not.

    Args:
        words: The classifier of the words alone.
        means: float [clips, D], mean embeddings.
        targets: float [clips, L]: 1 where a clip shows a class, else 0.
    """
    told = np.flatnonzero((targets.max(axis=0) > 0) & (targets.min(axis=0) < 1))
    if not len(told):
        return 1.0
    signs = 2 * targets[:, told] - 1
    weights = np.stack([_balanced(sign) for sign in signs.T], axis=1)
    logits = means @ words.kernel[:, told]
    margins = signs * (logits - np.average(logits, axis=0, weights=weights))

    def loss(share: float) -> float:
        return float((weights * np.logaddexp(0, -share * margins)).sum())

    return float(minimize_scalar(loss, bounds=(0, 1), method="bounded").x)


def _change(products: Floats, before: Floats, sign: Floats) -> Floats:
    """Return the coefficients [clips] of the inputs in the change of a class's weights, and the change of its bias.

    Args:
        products: Inner products of the inputs, [clips, clips].
        before: Logits of the words alone, [clips].
        sign: 1 where a clip shows the class, else -1, [clips].
    """
    weights = _balanced(sign)

    def loss(x: Floats) -> tuple[float, Floats]:
        projected = products @ x[:-1]
        margins = sign * (before + projected + x[-1])
        slope = -weights * sign * expit(-margins)
        value = weights @ np.logaddexp(0, -margins) + RIDGE / 2 * x[:-1] @ projected + BIAS_RIDGE / 2 * x[-1] ** 2
        return float(value), np.append(products @ slope + RIDGE * projected, slope.sum() + BIAS_RIDGE * x[-1])

    found: Floats = minimize(loss, np.zeros(len(sign) + 1), jac=True, method="L-BFGS-B").x
    return found


def _balanced(sign: Floats) -> Floats:
    """Return weights with which the clips that show a class count as much as those that do not."""
    shown = sign > 0
    counts = np.where(shown, shown.sum(), (~shown).sum())
    return len(sign) / 2 / counts


def _folds(groups: Sequence[str]) -> NDArray[np.int64]:
    """Number the fold of each clip; a group is in one fold."""
    names = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    return np.array([names[name] % FOLDS for name in groups])
