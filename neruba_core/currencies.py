"""Currencies, as ISO 4217 lists them: which codes a project may bill in, and their minor units.

The exponent is the number of decimals of the minor unit: an amount due in EUR is rounded to 2, in JPY
to 0, in KWD to 3. Everything before the amount due stays in micro-units. Codes without a minor unit
(precious metals, baskets, test codes) bill nobody and are left out.
"""

from __future__ import annotations

from attrs import frozen

from neruba_core.errors import FormatInvalid
from neruba_core.texts import shown


@frozen
class Currency:
    """A code and the decimals of its minor unit."""

    code: str
    exponent: int


_CODES_BY_EXPONENT = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF "
        "CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP "
        "GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD "
        "MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP "
        "PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT "
        "TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}

CURRENCIES = {
    code: Currency(code, exponent) for exponent, codes in _CODES_BY_EXPONENT.items() for code in codes.split()
}


def currency_of(code: str) -> Currency:
    """The currency of an upper-case ISO 4217 *code*. Raises ``FormatInvalid``."""
    currency = CURRENCIES.get(code)
    if currency is None:
        raise FormatInvalid("an ISO 4217 currency code such as USD", shown(code))
    return currency
