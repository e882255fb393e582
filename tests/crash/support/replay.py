# SPDX-License-Identifier: LGPL-2.1-or-later
"""The states that a power loss can leave behind.

What is known: a change is on the disk after a flush of its file (a name:
of its folder) that began after it. Whatever was not flushed may be there or
not, each for itself, and a write may be torn at a sector. Lengths are ordered
by flushes only: a write that is there has made the file long enough, whatever
became of a resize before it.
"""

from disk import Change, Flush

ALL_SUBSETS_MAX = 5
TORN_MAX = 6


def prefixes(history):
    """Every prefix of the log: a program that is killed."""
    changes = [e for e in history.events if not isinstance(e, Flush)]
    for end in range(len(changes) + 1):
        yield history.state(changes[:end], f"the first {end} changes")


def epochs(history):
    """(stable, pending): before each flush, and at the end."""
    events = history.events
    ends = [i for i, e in enumerate(events) if isinstance(e, Flush)]
    for end in ends + [len(events)]:
        before = events[:end]
        flushes = []
        stable, pending = [], []
        for event in reversed(before):
            if isinstance(event, Flush):
                flushes.append(event)
            elif any(flush.settles(event) for flush in flushes):
                stable.append(event)
            else:
                pending.append(event)
        yield stable[::-1], pending[::-1]


def durable(history):
    """What is there when all that was never flushed is lost in the end."""
    flushes, stable = [], []
    for event in reversed(history.events):
        if isinstance(event, Flush):
            flushes.append(event)
        elif any(flush.settles(event) for flush in flushes):
            stable.append(event)
    return history.state(stable[::-1], "done, and what was not flushed lost")


def final(history):
    return history.state([e for e in history.events
                          if not isinstance(e, Flush)], "the end")


def halves(rng, number, count):
    for _ in range(count):
        bits = rng.getrandbits(number)
        yield [bits >> n & 1 for n in range(number)]


def choices(rng, number):
    """Which of NUMBER pending changes are there: lists of truths."""
    if number <= ALL_SUBSETS_MAX:
        for bits in range(1 << number):
            yield [bits >> n & 1 for n in range(number)]
        return
    for n in range(number):
        yield [n == i for i in range(number)]
        yield [n != i for i in range(number)]
    yield [0] * number
    yield from halves(rng, number, 8 + number // 2)


def tears(rng, pending):
    """Pending changes of which one write is torn."""
    torn = [i for i, e in enumerate(pending)
            if isinstance(e, Change) and e.is_write and e.sectors()]
    last = torn[-1:]
    rng.shuffle(torn)
    for i in dict.fromkeys(last + torn[:TORN_MAX]):
        change = pending[i]
        cut = rng.choice(change.sectors())
        end = change.call.off + len(change.call.data)
        for window in ((change.call.off, cut), (cut, end)):
            part = change.torn(window)
            yield pending[:i] + [part] + pending[i + 1:]
            yield pending[:i] + [part]
            yield [part]


def reorderings(history, rng):
    """For each epoch: what was flushed, and choices of the rest."""
    for number, (stable, pending) in enumerate(epochs(history)):
        def state(chosen, what, stable=stable, number=number):
            return history.state(merge(stable, chosen),
                                 f"epoch {number}: {what}")
        for choice in choices(rng, len(pending)):
            chosen = [e for e, is_there in zip(pending, choice) if is_there]
            yield state(chosen, f"{len(chosen)} of {len(pending)}: "
                        + ", ".join(str(e.idx) for e in chosen))
        for chosen in tears(rng, pending):
            parts = [e for e in chosen if getattr(e, "window", None)]
            yield state(chosen, f"{len(chosen)} of {len(pending)}, call "
                        f"{parts[0].idx} torn to {parts[0].window}")


def merge(stable, chosen):
    return sorted(stable + chosen, key=lambda event: event.idx)


def states(history, rng):
    """All of them, each once."""
    seen = set()
    for source in (prefixes(history), reorderings(history, rng)):
        for state in source:
            key = state.key()
            if key not in seen:
                seen.add(key)
                yield state
