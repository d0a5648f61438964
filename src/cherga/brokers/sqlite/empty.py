"""Lanes with limit keys are removed when they hold no job any more: there may be a new key every minute."""

from __future__ import annotations

import msgspec

from cherga.brokers.sqlite.lanes import KEYED
from cherga.brokers.sqlite.write import Write

PAGE = 1000
"""Lanes looked at by one prune."""

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


def remove_empty(write: Write) -> None:
    """Go through some of the lanes with limit keys, on from where the last call has stopped; delete those without a job."""
    numbers = _read_numbers(write.value(_PAGE, (write.lanes.swept, PAGE)))
    write.lanes.swept = numbers[-1] if len(numbers) == PAGE else 0

    if not numbers:
        return

    empty = write.value(_EMPTY, (_write_numbers(numbers).decode(),))
    write.run("delete from lanes where number in (select value from json_each(?))", (empty,))
    write.run("delete from counters where lane in (select value from json_each(?))", (empty,))
