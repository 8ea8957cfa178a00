"""Symbolic integers: the sizes of tensors.

A `Dim` is a plain `int`, or an `Expr`: a polynomial over *atoms* (a named size, a floor division, a maximum, a minimum) in canonical
form, so that equal sizes compare equal. Every named size is at least 1 (`low`) and may be known to be a multiple of a number; then
`H // 2` is exact and `H // 2 * 2` is `H` again. What the algebra cannot decide it reports as undecided, never as true.

Coefficients may be fractions, as in `H / 2`, but only where the whole term is an integer for every value of the atoms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from math import gcd, inf
from typing import TypeAlias, Union

Number: TypeAlias = "int | Fraction"
Dim: TypeAlias = Union[int, "Expr"]


@dataclass(frozen=True, slots=True)
class Symbol:
    """A named size. The facts belong to the name: `multiple` divides it, and it is at least `low`."""

    name: str
    multiple: int = field(default=1, compare=False)
    low: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class FloorDiv:
    numerator: Dim
    denominator: Dim


@dataclass(frozen=True, slots=True)
class Extremum:
    """The largest (`kind` "max") or smallest ("min") of its arguments."""

    kind: str
    arguments: tuple[Dim, ...]


Atom: TypeAlias = "Symbol | FloorDiv | Extremum"
Monomial: TypeAlias = "tuple[tuple[Atom, int], ...]"


class Expr:
    """A polynomial that is not a constant: a map from monomials to coefficients, none of them zero."""

    __slots__ = ("_hash", "_key", "terms")

    def __init__(self, terms: dict[Monomial, Number]) -> None:
        self.terms = terms
        self._hash: int | None = None
        self._key: frozenset[tuple[Monomial, Number]] | None = None

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self.terms.items()))
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Expr) and self.terms == other.terms)

    def __add__(self, other: Dim) -> Dim:
        if not isinstance(other, int | Expr):
            return NotImplemented
        terms = dict(self.terms)
        for monomial, c in _terms(other).items():
            terms[monomial] = terms.get(monomial, 0) + c
        return _made(terms)

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return Expr({m: -c for m, c in self.terms.items()})

    def __sub__(self, other: Dim) -> Dim:
        return self + -other

    def __rsub__(self, other: Dim) -> Dim:
        return -self + other

    def __mul__(self, other: Dim) -> Dim:
        if not isinstance(other, int | Expr):
            return NotImplemented
        terms: dict[Monomial, Number] = {}
        for m1, c1 in self.terms.items():
            for m2, c2 in _terms(other).items():
                m = _times(m1, m2)
                terms[m] = terms.get(m, 0) + c1 * c2
        return _made(terms)

    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        return _floordiv(self, other)

    def __rfloordiv__(self, other: int) -> Dim:
        return _floordiv(other, self)

    def __mod__(self, other: Dim) -> Dim:
        return self - other * _floordiv(self, other)

    def __rmod__(self, other: int) -> Dim:
        return other - self * _floordiv(other, self)

    def __pow__(self, exponent: int) -> Dim:
        result: Dim = 1
        for _ in range(exponent):
            result = self * result
        return result

    def __str__(self) -> str:
        return format_dim(self)

    __repr__ = __str__


def symbol(name: str, multiple: int = 1, low: int = 1) -> Expr:
    """The size called `name`, a multiple of `multiple` and at least `low`."""
    return Expr({((Symbol(name, multiple, max(low, multiple if low > 0 else low)), 1),): 1})


def is_dim(x: object) -> bool:
    return (isinstance(x, int) and not isinstance(x, bool)) or isinstance(x, Expr)


# --- canonical form ---------------------------------------------------------------------------------------------------------------


def _terms(d: Dim) -> dict[Monomial, Number]:
    return d.terms if isinstance(d, Expr) else {(): d}


def _made(terms: dict[Monomial, Number]) -> Dim:
    kept = {m: _plain(c) for m, c in terms.items() if c}
    if not kept:
        return 0
    constant = kept.get(())
    if len(kept) == 1 and isinstance(constant, int):
        return constant
    return Expr(kept)


def _plain(c: Number) -> Number:
    return c.numerator if isinstance(c, Fraction) and c.denominator == 1 else c


def _times(a: Monomial, b: Monomial) -> Monomial:
    if not a or not b:
        return a or b
    powers = dict(a)
    for atom, power in b:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(((atom, p) for atom, p in powers.items() if p), key=lambda item: _atom_text(item[0])))


@lru_cache(maxsize=4096)
def _atom_text(atom: Atom) -> str:
    return _format(_atom_tree(atom), 0)


def _content(monomial: Monomial, c: Number) -> Number:
    """A number that divides the term, whatever the atoms are."""
    for atom, power in monomial:
        if isinstance(atom, Symbol):
            c = c * atom.multiple**power
    return _plain(c) if isinstance(c, Fraction) else c


def _floordiv(a: Dim, b: Dim) -> Dim:
    if isinstance(b, int):
        if b == 0:
            raise ZeroDivisionError("division of a size by zero")
        if b < 0:
            return _floordiv(-a, -b)
        if isinstance(a, int):
            return a // b
        return _floordiv_constant(a, b)
    return _floordiv_symbolic(a, b)


def _floordiv_constant(a: Expr, b: int) -> Dim:
    exact: dict[Monomial, Number] = {}
    rest: dict[Monomial, Number] = {}
    for monomial, c in a.terms.items():
        content = _content(monomial, c)
        if isinstance(content, int) and content % b == 0:
            exact[monomial] = Fraction(c) / b
        elif isinstance(c, int):
            quotient, remainder = divmod(c, b)
            exact[monomial] = quotient
            rest[monomial] = remainder
        else:
            rest[monomial] = c
    remainder_part = _made(rest)
    whole = _made(exact)
    if isinstance(remainder_part, int):
        return whole + remainder_part // b
    return whole + _reduced(remainder_part, b)


def _reduced(a: Expr, b: int) -> Dim:
    """`a // b` where no term is a multiple of `b`: cancel a common factor, flatten nested divisions."""
    constant = a.terms.get((), 0)
    contents = [_content(m, c) for m, c in a.terms.items() if m]
    common = b
    for content in contents:
        common = gcd(common, content) if isinstance(content, int) else 1
    if common > 1 and isinstance(constant, int):
        scaled = _made({m: Fraction(c) / common for m, c in a.terms.items() if m})
        return _floordiv(scaled + constant // common, b // common)
    for monomial, c in a.terms.items():
        if c == 1 and len(monomial) == 1 and monomial[0][1] == 1:
            inner = monomial[0][0]
            if isinstance(inner, FloorDiv) and isinstance(inner.denominator, int):
                others = a - Expr({monomial: 1})
                return _floordiv(inner.numerator + inner.denominator * others, inner.denominator * b)
    low, high = _bounds(a)
    if low >= 0 and high < b:
        return 0
    return Expr({((FloorDiv(a, b), 1),): 1})


def _floordiv_symbolic(a: Dim, b: Expr) -> Dim:
    if len(b.terms) == 1:
        ((divisor, c),) = b.terms.items()
        exact: dict[Monomial, Number] = {}
        rest: dict[Monomial, Number] = {}
        for monomial, k in _terms(a).items():
            quotient = _divide(monomial, divisor)
            ratio = _plain(Fraction(k) / Fraction(c))
            if quotient is not None and isinstance(_content(quotient, ratio), int):
                exact[quotient] = ratio
            else:
                rest[monomial] = k
        remaining = _made(rest)
        low, high = _bounds(remaining)
        if remaining == 0 or (low >= 0 and high < _bounds(b)[0]):
            return _made(exact)
        return _made(exact) + Expr({((FloorDiv(remaining, b), 1),): 1})
    if isinstance(a, Expr) and a.terms.keys() == b.terms.keys():
        ratios = {Fraction(c) / Fraction(b.terms[m]) for m, c in a.terms.items()}
        if len(ratios) == 1 and (ratio := ratios.pop()).denominator == 1:
            return ratio.numerator
    return Expr({((FloorDiv(a, b), 1),): 1})


def _divide(a: Monomial, b: Monomial) -> Monomial | None:
    powers = dict(a)
    for atom, power in b:
        if powers.get(atom, 0) < power:
            return None
        powers[atom] -= power
    return tuple((atom, p) for atom, p in powers.items() if p)


def ceil_div(a: Dim, b: Dim) -> Dim:
    """The smallest integer not below `a / b`."""
    return (a + (b - 1)) // b if isinstance(b, int) and b > 0 else -(-a // b)


def dim_max(*dims: Dim) -> Dim:
    return _extremum("max", dims)


def dim_min(*dims: Dim) -> Dim:
    return _extremum("min", dims)


def _extremum(kind: str, dims: Iterable[Dim]) -> Dim:
    kept: list[Dim] = []
    for d in (inner for given in dims for inner in _arguments(kind, given)):
        below = [dim_le(d, k) if kind == "max" else dim_le(k, d) for k in kept]
        if any(below):
            continue
        kept = [k for k in kept if not (dim_le(k, d) if kind == "max" else dim_le(d, k))]
        kept.append(d)
    if len(kept) == 1:
        return kept[0]
    ordered = tuple(sorted(kept, key=lambda d: (isinstance(d, int), format_dim(d))))
    return Expr({((Extremum(kind, ordered), 1),): 1})


def _arguments(kind: str, d: Dim) -> tuple[Dim, ...]:
    """The arguments of a maximum (minimum) that is an argument of another."""
    if isinstance(d, Expr) and len(d.terms) == 1:
        ((monomial, c),) = d.terms.items()
        if c == 1 and len(monomial) == 1:
            atom, power = monomial[0]
            if power == 1 and isinstance(atom, Extremum) and atom.kind == kind:
                return atom.arguments
    return (d,)


# --- what is known ----------------------------------------------------------------------------------------------------------------


def _bounds(d: Dim) -> tuple[float, float]:
    if isinstance(d, int):
        return d, d
    low: float = 0
    high: float = 0
    for monomial, c in d.terms.items():
        a, b = _monomial_bounds(monomial)
        x, y = _product(a, c), _product(b, c)
        low += min(x, y)
        high += max(x, y)
    return low, high


def _product(bound: float, c: Number | float) -> float:
    if bound == 0 or c == 0:
        return 0
    if isinstance(c, Fraction):
        return bound * float(c) if bound in (inf, -inf) else float(Fraction(bound) * c)
    return bound * c


def _monomial_bounds(monomial: Monomial) -> tuple[float, float]:
    low: float = 1
    high: float = 1
    for atom, power in monomial:
        a, b = _atom_bounds(atom)
        for _ in range(power):
            corners = [_product(x, y) for x in (low, high) for y in (a, b)]
            low, high = min(corners), max(corners)
    return low, high


def _atom_bounds(atom: Atom) -> tuple[float, float]:
    match atom:
        case Symbol():
            return atom.low, inf
        case FloorDiv():
            low, high = _bounds(atom.numerator)
            if isinstance(atom.denominator, int):
                d = atom.denominator
                return (low if low == -inf else low // d), (high if high == inf else high // d)
            d_low, _ = _bounds(atom.denominator)
            if d_low < 1:
                return -inf, inf
            return (0 if low >= 0 else low), (high if high < 0 or high == inf else high // d_low)
        case Extremum():
            pairs = [_bounds(a) for a in atom.arguments]
            pick = max if atom.kind == "max" else min
            return pick(p[0] for p in pairs), pick(p[1] for p in pairs)


def dims_equal(a: Dim, b: Dim) -> bool:
    """Whether the sizes are proved equal for every value of the symbols."""
    return a is b or a == b


def dims_differ(a: Dim, b: Dim) -> bool:
    """Whether the sizes are proved different for every value of the symbols."""
    low, high = _bounds(a - b)
    return low > 0 or high < 0


def dim_le(a: Dim, b: Dim) -> bool | None:
    """Whether `a <= b`: True or False where proved for every value, None where it depends or cannot be told."""
    difference = b - a
    low, high = _bounds(difference)
    if low >= 0:
        return True
    if high < 0:
        return False
    return True if isinstance(difference, Expr) and _bounds(_floors_bounded(difference))[0] >= 0 else None


def _floors_bounded(d: Expr) -> Dim:
    """Something not above `d` in which `n // 2` is bounded by fractions of `n`, so that `T - T // 2` is seen to be positive."""
    terms: dict[Monomial, Number] = {}
    for monomial, c in d.terms.items():
        atom = monomial[0][0] if len(monomial) == 1 and monomial[0][1] == 1 else None
        if isinstance(atom, FloorDiv) and isinstance(atom.denominator, int):
            ratio = Fraction(c) / atom.denominator
            for m, k in _terms(atom.numerator - (atom.denominator - 1 if c > 0 else 0)).items():
                terms[m] = terms.get(m, 0) + ratio * k
        else:
            terms[monomial] = terms.get(monomial, 0) + c
    return _made(terms)


def dim_lower(d: Dim) -> int | None:
    """A proved lower bound, or None."""
    low = _bounds(d)[0]
    return None if low == -inf else int(low)


def dim_upper(d: Dim) -> int | None:
    """A proved upper bound, or None."""
    high = _bounds(d)[1]
    return None if high == inf else int(high)


def multiple_of(d: Dim) -> int:
    """The largest number that is known to divide `d` (0 for 0)."""
    result = 0
    for monomial, c in _terms(d).items():
        content = _content(monomial, c)
        if not isinstance(content, int):
            return 1
        result = gcd(result, content)
    return abs(result)


def symbols_of(d: Dim) -> tuple[str, ...]:
    """The names in `d`, each once, sorted."""
    found: set[str] = set()
    _collect(d, found)
    return tuple(sorted(found))


def _collect(d: Dim, found: set[str]) -> None:
    if isinstance(d, int):
        return
    for monomial in d.terms:
        for atom, _ in monomial:
            match atom:
                case Symbol():
                    found.add(atom.name)
                case FloorDiv():
                    _collect(atom.numerator, found)
                    _collect(atom.denominator, found)
                case Extremum():
                    for a in atom.arguments:
                        _collect(a, found)


def as_symbol(d: Dim) -> Symbol | None:
    """The symbol, when `d` is a bare name."""
    if isinstance(d, Expr) and len(d.terms) == 1:
        ((monomial, c),) = d.terms.items()
        if c == 1 and len(monomial) == 1 and monomial[0][1] == 1 and isinstance(monomial[0][0], Symbol):
            return monomial[0][0]
    return None


# --- substitution, values, text ---------------------------------------------------------------------------------------------------


def substitute(d: Dim, values: Mapping[str, Dim]) -> Dim:
    """`d` with names replaced by sizes; names that `values` lacks stay."""
    if isinstance(d, int):
        return d
    total: Dim = 0
    for monomial, c in d.terms.items():
        product: Dim = 1
        for atom, power in monomial:
            value = _substitute_atom(atom, values)
            for _ in range(power):
                product = product * value
        total = total + _scaled(product, c)
    return total


def _scaled(d: Dim, c: Number) -> Dim:
    if isinstance(c, int):
        return d * c
    return (
        _made({m: k * c for m, k in _terms(d).items()})
        if multiple_of(d) % c.denominator == 0
        else d * c.numerator // c.denominator
    )


def _substitute_atom(atom: Atom, values: Mapping[str, Dim]) -> Dim:
    match atom:
        case Symbol():
            return values[atom.name] if atom.name in values else Expr({((atom, 1),): 1})
        case FloorDiv():
            return _floordiv(substitute(atom.numerator, values), substitute(atom.denominator, values))
        case Extremum():
            return _extremum(atom.kind, [substitute(a, values) for a in atom.arguments])


def evaluate(d: Dim, values: Mapping[str, int]) -> int:
    """The value of `d`; a name that `values` lacks is a KeyError."""
    if isinstance(d, int):
        return d
    missing = [name for name in symbols_of(d) if name not in values]
    if missing:
        raise KeyError(missing[0])
    result = substitute(d, values)
    assert isinstance(result, int)
    return result


DimTree: TypeAlias = "tuple[object, ...]"


def dim_tree(d: Dim) -> DimTree:
    """The structure for emitters: nested `("const", n)`, `("symbol", name)`, `("add", [..])`, `("mul", [..])`, `("floordiv", a, b)`,
    `("max", [..])`, `("min", [..])`."""
    if isinstance(d, int):
        return ("const", d)
    ordered = sorted(d.terms.items(), key=_term_order)
    parts = [_term_tree(m, c) for m, c in ordered]
    return parts[0] if len(parts) == 1 else ("add", parts)


def _term_order(term: tuple[Monomial, Number]) -> tuple[bool, bool, int, str]:
    monomial, c = term
    degree = -sum(power for _, power in monomial)
    return not monomial, c < 0, degree, " ".join(_atom_text(a) for a, _ in monomial)


def _term_tree(monomial: Monomial, c: Number) -> DimTree:
    factors: list[DimTree] = [_atom_tree(a) for a, power in monomial for _ in range(power)]
    if not factors:
        return ("const", c)
    numerator = c.numerator
    if numerator != 1:
        factors.insert(0, ("const", numerator))
    product = factors[0] if len(factors) == 1 else ("mul", factors)
    return product if c.denominator == 1 else ("floordiv", product, ("const", c.denominator))


def _atom_tree(atom: Atom) -> DimTree:
    match atom:
        case Symbol():
            return ("symbol", atom.name)
        case FloorDiv():
            return ("floordiv", dim_tree(atom.numerator), dim_tree(atom.denominator))
        case Extremum():
            return (atom.kind, [dim_tree(a) for a in atom.arguments])


def format_dim(d: Dim) -> str:
    """The size as a spec would write it."""
    return str(d) if isinstance(d, int) else _format(dim_tree(d), 0)


def _format(tree: DimTree, level: int) -> str:
    """`level` 0: anywhere; 1: a factor; 2: right of `//`."""
    kind = tree[0]
    if kind == "const":
        return str(tree[1]) if level == 0 or str(tree[1])[0] != "-" else f"({tree[1]})"
    if kind == "symbol":
        return str(tree[1])
    if kind in ("max", "min"):
        return f"{kind}({', '.join(_format(a, 0) for a in tree[1])})"  # type: ignore[attr-defined]
    if kind == "floordiv":
        text = f"{_format(tree[1], 1)} // {_format(tree[2], 2)}"  # type: ignore[arg-type]
        return f"({text})" if level > 0 else text
    if kind == "mul":
        text = _format_product(tree[1])  # type: ignore[arg-type]
        return f"({text})" if level > 1 else text
    text = _format_sum(tree[1])  # type: ignore[arg-type]
    return f"({text})" if level > 0 else text


def _format_product(factors: list[DimTree]) -> str:
    if factors[0] == ("const", -1):
        return "-" + " * ".join(_format(f, 1) for f in factors[1:])
    return " * ".join([_format(factors[0], 0 if factors[0][0] == "const" else 1), *(_format(f, 1) for f in factors[1:])])


def _format_sum(parts: list[DimTree]) -> str:
    match parts:
        case [*others, ("mul", [("const", int(factor)), ("floordiv", whole, ("const", int(divisor)))])] if factor == -divisor:
            rest: DimTree = others[0] if len(others) == 1 else ("add", others)
            if rest == whole:
                return f"{_format(rest, 1)} % {divisor}"
    text = _format(parts[0], 0)
    for part in parts[1:]:
        shown = _format(part, 0)
        text += f" - {shown[1:]}" if shown.startswith("-") else f" + {shown}"
    return text
