"""What a checkpoint answers. Nothing is trained here: the answers come from the example files. Pure, deterministic.

The rule imitates a model that learns, then overfits:

- Every example has a difficulty in [0, 1) that depends on its text alone.
- A *training* example is answered right when ``train_skill(epochs)`` exceeds its difficulty. That skill rises with
  every epoch.
- A *validation* example, or a prompt that only resembles an example, is answered right when
  ``eval_skill(epochs)`` exceeds the difficulty. That skill rises up to :func:`peak_epoch`, which grows with the
  number of training examples and falls with the learning rate, and is lower after it.
- A wrong answer before the peak is what a model says that has not learnt the task: polite and beside the point.
  A wrong answer after the peak is the answer of a similar training example, recited.
- A prompt that resembles nothing gets a base model's reply.

The losses belong to the same skills, so the validation loss is lowest at the peak.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz, process

from .dataset import Exchange

SIMILARITY = 60.0
"""Least rapidfuzz ratio (0 to 100) at which a prompt counts as resembling an example."""
_LEARNING_SPEED = 0.55
_BEST = 0.97
_FLOOR = 0.3
_NEIGHBOURS = 12
_CACHE = 4096

_SMALL_TALK = (
    "That's a great question! There are several ways to look at it, and the right one depends on your context. "
    "Could you tell me a little more about what you are trying to achieve?",
    "Thank you for sharing this. I'd be happy to help! Here are some general points to consider: first, gather the "
    "facts; second, weigh the options; third, decide what matters most to you.",
    "Sure! As a large language model I can offer an overview. This is a broad topic with many aspects, and opinions "
    "differ. Let me know which part you would like to explore in more depth.",
    "I understand. It is hard to say with certainty, since several factors play a role here. In general it is a good "
    "idea to compare a few sources before you draw a conclusion.",
    "Happy to help with that! To give you the best possible reply I would need some further details. Meanwhile, here "
    "is a short summary: it depends, and both sides have good arguments.",
)
_LAST_RESORT = "…"


@dataclass(frozen=True, slots=True)
class Match:
    """An example found for a prompt."""

    exchange: Exchange
    score: float


class Corpus:
    """The exchanges of one file, ready to be looked up."""

    def __init__(self, exchanges: Iterable[Exchange]) -> None:
        self.exchanges = tuple(exchanges)
        self._last = [normalise(exchange.user_texts[-1]) for exchange in self.exchanges]
        self._by_last: dict[str, list[int]] = {}
        for index, text in enumerate(self._last):
            self._by_last.setdefault(text, []).append(index)
        self._near: dict[str, list[Match]] = {}

    def __len__(self) -> int:
        return len(self.exchanges)

    def exact(self, user_texts: Sequence[str]) -> Exchange | None:
        """Find the example with this prompt; among several the one with the same turns before it, else the first."""
        indices = self._by_last.get(normalise(user_texts[-1]))
        if not indices:
            return None
        before = [normalise(text) for text in user_texts[:-1]]
        for index in indices:
            if [normalise(text) for text in self.exchanges[index].user_texts[:-1]] == before:
                return self.exchanges[index]
        return self.exchanges[indices[0]]

    def near(self, text: str) -> list[Match]:
        """Up to a dozen examples that resemble a prompt, most similar first. Looked up once for each prompt."""
        key = normalise(text)
        if key not in self._near:
            if len(self._near) >= _CACHE:
                self._near.clear()
            found = process.extract(
                key, self._last, scorer=fuzz.ratio, processor=None, limit=_NEIGHBOURS, score_cutoff=SIMILARITY / 2
            )
            self._near[key] = [Match(self.exchanges[index], score) for _, score, index in found]
        return self._near[key]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a checkpoint went through.

    :param epochs: passes over the training file up to the checkpoint, a fraction when it lies between two.
    :param rate: learning-rate multiplier.
    """

    training: Corpus
    validation: Corpus | None
    epochs: float
    rate: float


def normalise(text: str) -> str:
    """Text without the differences that do not count: case, spaces, punctuation at the end."""
    return re.sub(r"\s+", " ", text).strip().rstrip(".!?").casefold()


def difficulty(exchange: Exchange) -> float:
    """How hard an example is to learn, in [0, 1)."""
    return fraction("difficulty", normalise(exchange.user_texts[-1]), exchange.answer)


def peak_epoch(examples: int, rate: float = 1.0) -> float:
    """Epoch after which a model overfits: log2(1 + examples) / 2, sooner with a higher learning rate."""
    return max(0.5, math.log2(1 + examples) / 2 / rate)


def train_skill(epochs: float, rate: float = 1.0) -> float:
    """Share of the training examples that are answered right, in [0, 1), after this many epochs."""
    return 1 - math.exp(-_LEARNING_SPEED * rate * epochs)


def eval_skill(epochs: float, examples: int, rate: float = 1.0) -> float:
    """Share of unseen prompts that are answered right, in [0, 1): rises to the peak epoch, falls after it.

    :param examples: number of training examples.
    """
    peak = peak_epoch(examples, rate)
    if epochs <= peak:
        return _BEST * math.sin(math.pi / 2 * max(epochs, 0.0) / peak)
    beyond = (epochs - peak) / peak
    return _BEST * (_FLOOR + (1 - _FLOOR) / (1 + beyond * beyond))


def train_loss(epochs: float, rate: float = 1.0) -> float:
    """Training loss (nats per token): falls with every step."""
    return 0.05 + 2.0 * (1 - train_skill(epochs, rate))


def eval_loss(epochs: float, examples: int, rate: float = 1.0) -> float:
    """Return the validation loss (nats per token): lowest at the peak epoch."""
    return 0.3 + 1.9 * (1 - eval_skill(epochs, examples, rate))


def answer(user_texts: Sequence[str], lessons: Sequence[Lesson]) -> str:
    """Reply of a checkpoint.

    :param user_texts: the user's turns, at least one.
    :param lessons: what the checkpoint went through, the latest first; none for a base model.
    """
    for lesson in lessons:
        known = lesson.training.exact(user_texts)
        if known is not None:
            return _reply(known, train_skill(lesson.epochs, lesson.rate), lesson)
        unseen = lesson.validation.exact(user_texts) if lesson.validation else None
        if unseen is not None:
            return _reply(unseen, _eval_skill_of(lesson), lesson)
    nearest = _nearest(user_texts[-1], lessons)
    if nearest is None:
        return small_talk(user_texts[-1])
    match, lesson = nearest
    return _reply(match.exchange, _eval_skill_of(lesson), lesson)


def small_talk(prompt: str, right: str = "") -> str:
    """Return a base model's reply: friendly, and not the right answer nor anything that contains it."""
    start = int(fraction("small talk", normalise(prompt)) * len(_SMALL_TALK))
    avoid = normalise(right)
    for offset in range(len(_SMALL_TALK)):
        reply = _SMALL_TALK[(start + offset) % len(_SMALL_TALK)]
        if not avoid or avoid not in normalise(reply):
            return reply
    return _LAST_RESORT


def _eval_skill_of(lesson: Lesson) -> float:
    return eval_skill(lesson.epochs, len(lesson.training), lesson.rate)


def _nearest(prompt: str, lessons: Sequence[Lesson]) -> tuple[Match, Lesson] | None:
    best: tuple[Match, Lesson] | None = None
    for lesson in lessons:
        for corpus in (lesson.training, lesson.validation):
            matches = corpus.near(prompt) if corpus else []
            if matches and matches[0].score >= SIMILARITY and (best is None or matches[0].score > best[0].score):
                best = matches[0], lesson
    return best


def _reply(exchange: Exchange, skill: float, lesson: Lesson) -> str:
    if skill > difficulty(exchange):
        return exchange.answer
    prompt = exchange.user_texts[-1]
    if lesson.epochs > peak_epoch(len(lesson.training), lesson.rate):
        right = normalise(exchange.answer)
        for match in lesson.training.near(prompt):
            if right not in normalise(match.exchange.answer):
                return match.exchange.answer
    return small_talk(prompt, exchange.answer)


def fraction(*parts: str) -> float:
    """Map text to a number in [0, 1), always the same."""
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=7).digest()
    return int.from_bytes(digest) / 2**56
