"""How many bits a multiplier sees of a value in a format that a card names."""

from __future__ import annotations

import re

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.formats.msfp import Msfp

_PLAIN = re.compile(r"(?:ap_)?u?fixed<\s*(\d+)\s*,|(?:ap_)?(?:u?int|fixed|float)<?(\d+)>?")


def bits_of(text: str) -> int:
    """Return the bits of one value; of values that share an exponent: sign and mantissa.

    >>> bits_of("ap_fixed<16,6,RND,SAT>"), bits_of("ap_ufixed<8,0>"), bits_of("fixed8"), bits_of("float32")
    (16, 8, 8, 32)
    >>> bits_of("msfp12"), bits_of("msfp<5,3,128>")
    (4, 4)

    Raises:
        ConfigurationError: if it is no format.
    """
    if "msfp" in text or "ms-fp" in text:
        return 1 + Msfp.parse(text).mantissa_bits
    plain = _PLAIN.match(text)
    if plain:
        return int(plain[1] or plain[2])
    raise ConfigurationError(f"'{text}' in the card is no number format; 'evtfw emulate convert' writes such cards")
