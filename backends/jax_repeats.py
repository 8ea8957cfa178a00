"""The copies of a `repeat` in JAX: a loop where they are few, one `lax.scan` where they are many."""

from __future__ import annotations

from backends.jax_calls import Calls
from backends.jax_init import LONGEST_LOOP, is_stacked, runs_of
from backends.python import Body
from backends.writer import Expression, call, quoted
from dsl.ir import Node, Value


class Repeats(Calls):
    """Writes the `repeat` nodes of a function."""

    def repeat(self, body: Body, node: Node, operands: list[Expression]) -> Expression:
        target = node.target
        assert target is not None and target.count is not None and target.child is not None
        first, *rest = [self._variable(body, v, x) for v, x in zip(node.inputs, operands, strict=True)]
        body.consume(first)
        carry = body.variable(Value(node.id))
        if carry != first.text:
            body.statement(f"{carry} = ", Expression(first.text))
        runs = runs_of(self.within.owner, target.child)
        stacked = is_stacked(runs)
        state = self.facts(target.graph).state
        child = f"[{quoted(target.child)}]"
        if target.count > LONGEST_LOOP:
            self._scan(body, node, carry, rest, child)
        elif stacked or target.count == 1:
            if state and self.changes_state:
                body.statement(f"state{child} = {'dict' if stacked else 'list'}(state{child})")
            for i in range(target.count):
                at = target.start + i
                self._one(
                    body, node, carry, rest, f'{child}["{at}"]' if stacked else f"{child}[{at}]", self._copy_key(body, node, i)
                )
        else:
            self._loop(body, node, carry, rest, child, len(runs) == 1)
        for operand in rest:
            body.consume(operand)
        return Expression(carry)

    def _variable(self, body: Body, value: Value, x: Expression) -> Expression:
        """The operand as something that may be repeated."""
        return x if x.simple or not x.size else body.assign(value, x)

    def _copy_key(self, body: Body, node: Node, i: int) -> str | None:
        assert node.target is not None
        if not self._draws(node):
            return None
        if node.target.count == 1:
            return self.key(node).text
        return f"{self._copy_keys(body, node)}[{i}]"

    def _copy_keys(self, body: Body, node: Node) -> str:
        """A variable with a key for each copy."""
        assert node.target is not None
        if node.id not in self._split:
            split = call(self.copied("split_key"), self.key(node), str(node.target.count))
            self._split[node.id] = body.let("copy_keys", split).text
        return self._split[node.id]

    def _one(self, body: Body, node: Node, carry: str, rest: list[Expression], place: str, key: str | None) -> None:
        assert node.target is not None
        applied = self._applied(body, node, [Expression(carry), *rest], place, key)
        state = (f", state{place}" if self.changes_state else ", _") if self.facts(node.target.graph).state else ""
        body.statement(f"{carry}{state} = ", applied)

    def _loop(self, body: Body, node: Node, carry: str, rest: list[Expression], child: str, whole: bool) -> None:
        """`for layer in params["blocks"]: h = block(layer, h)`; by index where there is state to be kept."""
        target = node.target
        assert target is not None and target.count is not None
        facts = self.facts(target.graph)
        keys = self._copy_keys(body, node) if facts.key else None
        stop = target.start + target.count
        if facts.state:
            i = body.names.new("i")
            if self.changes_state:
                body.statement(f"state{child} = list(state{child})")
            body.statement(f"for {i} in range({f'{target.start}, ' if target.start else ''}{stop}):")
            key = f"{keys}[{i} - {target.start}]" if target.start else f"{keys}[{i}]"
            with body.block():
                self._one(body, node, carry, rest, f"{child}[{i}]", key if keys else None)
            return
        layer = body.names.new("layer") if facts.params else None
        layer_key = body.names.new("layer_key") if keys else None
        layers = f"params{child}" if whole else f"params{child}[{target.start}:{stop}]"
        heads = [text for text in (layer, layer_key) if text]
        over = [text for text, used in ((layers, layer), (keys, layer_key)) if used and text]
        if not heads:
            body.statement(f"for _ in range({target.count}):")
        else:
            body.statement(f"for {', '.join(heads)} in ", call("zip", *over) if len(over) > 1 else Expression(over[0]), ":")
        with body.block():
            owned = [layer] if layer else []
            applied = self._named(body, target.graph, owned, [Expression(carry), *rest], layer_key, target.child)
            body.statement(f"{carry} = ", applied)

    def _scan(self, body: Body, node: Node, carry: str, rest: list[Expression], child: str) -> None:
        """One `lax.scan` over the stacked copies: the time to compile it does not depend on their number."""
        target = node.target
        assert target is not None and target.count is not None
        facts = self.facts(target.graph)
        place = f'{child}["{target.start}:{target.start + target.count}"]'
        xs = [f"params{place}"] if facts.params else []
        xs += [f"state{place}"] if facts.state else []
        if facts.key:
            key = self.key(node).text
            made = f"random.split({key}, {target.count})"
            xs.append(body.let("copy_keys", Expression(made if facts.always else f"None if key is None else {made}")).text)
        copy = body.names.new("copy")
        parts = [copy] if len(xs) == 1 else [f"{copy}[{i}]" for i in range(len(xs))]
        key_part = parts[-1] if facts.key else None
        owned = parts[:-1] if facts.key else parts
        applied = self._named(body, target.graph, owned if xs else [], [Expression(carry), *rest], key_part, target.child)
        step = f"lambda {carry}, {copy}: {applied.text if facts.state else f'({applied.text}, None)'}"
        over = "None" if not xs else xs[0] if len(xs) == 1 else f"({', '.join(xs)})"
        length = None if xs else str(target.count)
        scanned = call("lax.scan", step, carry, over, length=length)
        if facts.state and self.changes_state:
            states = body.names.new("copies")
            body.statement(f"{carry}, {states} = ", scanned)
            body.statement(
                f"state{child} = {{**state{child}, ", Expression(f'"{target.start}:{target.start + target.count}": {states}}}')
            )
        else:
            body.statement(f"{carry}, _ = ", scanned)
