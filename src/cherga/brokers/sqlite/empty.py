"""Lanes with limit keys are removed when they hold no job any more: there may be a new key every minute."""

from __future__ import annotations

import msgspec

from cherga.brokers.sqlite.lanes import KEYED
from cherga.brokers.sqlite.write import Write

PAGE = 1000
"""Lanes looked at in one transaction."""
MOST_PAGES = 50
"""Further pages that one prune goes through."""
WORTHWHILE = PAGE // 2
"""Empty lanes in a page that are reason enough to look at the next one at once."""

_PAGE = f"""
select json_group_array(number) from (
    select number from lanes where number >= {KEYED} and number > ? order by number limit ?
)
"""

_EMPTY = """
select json_group_array(value) from json_each(?)
where not exists (select 1 from counters where lane = value and count <> 0)
"""

_read_numbers = msgspec.json.Decoder(list[int]).decode
_write_numbers = msgspec.json.Encoder().encode


def remove_empty(write: Write) -> bool:
    """Go through some of the lanes with limit keys, on from where the last call has stopped; delete those without a job.

    True when most of them were empty and there are more: jobs that are not kept leave many behind between two calls.
    """
    numbers = _read_numbers(write.value(_PAGE, (write.lanes.swept, PAGE)))
    write.lanes.swept = numbers[-1] if len(numbers) == PAGE else 0

    if not numbers:
        return False

    empty = write.value(_EMPTY, (_write_numbers(numbers).decode(),))
    write.run("delete from lanes where number in (select value from json_each(?))", (empty,))
    write.run("delete from counters where lane in (select value from json_each(?))", (empty,))
    return write.lanes.swept > 0 and len(_read_numbers(empty)) >= WORTHWHILE
