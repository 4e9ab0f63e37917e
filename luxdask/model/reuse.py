"""Links that an earlier task has measured, used again for the pairs of another one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from luxdask.model.view import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from luxdask.model.links import Link, Pair
    from luxdask.model.registrations import StoredRegistration
    from luxdask.model.view import ViewId

_Key = tuple[str, "ViewId", "ViewId"]

# Where a folder has several links of one pair, the first of this order is used.
_BEST_SOURCE = ("landmarks", "reused", "content")
_MEASURE_AGAIN = "unreadable"


def reusable_links(
    stored: StoredRegistration, wanted: Sequence[Pair], *, match_channel: bool
) -> tuple[dict[Pair, Link], tuple[str, ...]]:
    """Stored links of the same kind and the same images as the wanted pairs.

    Parameters
    ----------
    stored
        Links of another task. Its output resolution does not matter.
    wanted
        The pairs of this task.
    match_channel
        Whether channels must be the same, as stack, objective, camera, time point and PM id must.
        Otherwise the n-th channel of the stored links stands for the n-th of the wanted pairs where
        both are equally many; a single stored channel stands for all; else channels of the same
        name stand for each other, and the first one for the rest.

    Returns
    -------
    links
        Stored links under the wanted pairs that they answer; the other pairs are to be measured.
        Each link has the identities of its pair (a link whose two images are swapped is inverted),
        the source "reused", and neither residual nor cost. Links of status "removed" are "ok"
        again, since a new optimisation decides anew; links that are not trusted stay so; pairs
        that could not be read are left out.
    notes
        Sentences for the user.
    """
    known = _best_links(stored.links)
    names = {} if match_channel else channel_names(_channels(stored.links), _channels(wanted))
    found: dict[Pair, Link] = {}
    for pair in wanted:
        link = _stored_link(pair, known, names)
        if link is not None:
            found[pair] = _renewed(link, pair)
    return found, tuple(_notes(stored, wanted, found, names))


def channel_names(stored: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """Which stored channel stands for which wanted one; both in natural order.

    >>> channel_names(["0", "1"], ["2", "3"])
    {'2': '0', '3': '1'}
    """
    if not stored:
        return {}
    if len(stored) == len(wanted):
        return dict(zip(wanted, stored, strict=True))
    return {name: name if name in stored else stored[0] for name in wanted}


def in_other_channels(links: Sequence[Link], wanted: Sequence[str], preferred: str) -> list[Link]:
    """Stored links as links of the channels that there are, matched as by `channel_names`.

    preferred : the channel that is taken where several stand for a stored one.
    """
    names: dict[str, str] = {}
    for new, old in channel_names(_channels(links), wanted).items():
        names[old] = new if old not in names or new == preferred else names[old]

    def renamed(view: ViewId) -> ViewId:
        return replace(view, channel=names.get(view.channel, view.channel))

    return [replace(k, fixed=renamed(k.fixed), moving=renamed(k.moving)) for k in links]


def _channels(links: Iterable[Link | Pair]) -> list[str]:
    names = {view.channel for link in links for view in (link.fixed, link.moving)}
    return sorted(names, key=natural_key)


def _key(kind: str, fixed: ViewId, moving: ViewId) -> _Key:
    return (kind, fixed, moving)


def _best_links(links: Iterable[Link]) -> dict[_Key, Link]:
    """One usable link for each pair of images."""
    best: dict[_Key, Link] = {}
    for link in links:
        if link.status == _MEASURE_AGAIN or not link.transform.is_invertible:
            continue
        key = _key(link.kind, link.fixed, link.moving)
        if key not in best or _rank(link) < _rank(best[key]):
            best[key] = link
    return best


def _rank(link: Link) -> tuple[bool, int]:
    return (link.status not in ("ok", "removed"), _BEST_SOURCE.index(_source(link)))


def _source(link: Link) -> str:
    return link.source if link.source in _BEST_SOURCE else _BEST_SOURCE[-1]


def _stored_link(pair: Pair, known: Mapping[_Key, Link], names: Mapping[str, str]) -> Link | None:
    fixed, moving = _under_stored_name(pair.fixed, names), _under_stored_name(pair.moving, names)
    link = known.get(_key(pair.kind, fixed, moving))
    if link is None:
        swapped = known.get(_key(pair.kind, moving, fixed))
        return None if swapped is None else replace(swapped, transform=swapped.transform.inverse())
    return link


def _under_stored_name(view: ViewId, names: Mapping[str, str]) -> ViewId:
    return replace(view, channel=names.get(view.channel, view.channel))


def _renewed(link: Link, pair: Pair) -> Link:
    """The link as if it had just been measured for this pair."""
    removed = link.status == "removed"
    return replace(
        link,
        fixed=pair.fixed,
        moving=pair.moving,
        source="reused",
        status="ok" if removed else link.status,
        reason="" if removed else link.reason,
        residual_um=None,
        cost=None,
    )


def _notes(
    stored: StoredRegistration,
    wanted: Sequence[Pair],
    found: Mapping[Pair, Link],
    names: Mapping[str, str],
) -> list[str]:
    notes = list(stored.notes)
    renamed = [f"{old} for {new}" for new, old in names.items() if new != old]
    if renamed and found:
        notes.append(f"{stored.path}: channels used again: {', '.join(renamed)}")
    weak = Counter(link.status for link in found.values() if not link.is_trusted)
    if weak:
        listed = ", ".join(f"{count} {status}" for status, count in sorted(weak.items()))
        notes.append(
            f"{stored.path}: links that were not trusted there are not measured again: {listed}. "
            "To measure them again, run without registration.reuse.task_folder"
        )
    if wanted and not found:
        notes.append(_why_none(stored, wanted, names))
    return notes


def _why_none(stored: StoredRegistration, wanted: Sequence[Pair], names: Mapping[str, str]) -> str:
    advice = "" if names else "; channels must be the same unless match_channel is off"
    return (
        f"{stored.path}: none of its links fits: it has {_example(stored.links)}, "
        f"needed is {_example(wanted)}. Kind, stack, objective, camera, time point and PM id of "
        f"both images must be the same{advice}"
    )


def _example(links: Sequence[Link | Pair]) -> str:
    return f"for example {links[0]}" if links else "no links at all"
