"""A process as a Python configuration that leaves nothing out."""

from __future__ import annotations

import keyword
from collections.abc import Iterator
from typing import Any

from evtfw.core.declare import REQUIRED, Input, InputList, Parameter
from evtfw.core.dump_imports import Imports, NotWritable
from evtfw.core.dump_layout import Expression, call, layout, quoted
from evtfw.core.dump_values import write_value
from evtfw.core.errors import ConfigurationError
from evtfw.core.module import Decision, Module, ignore
from evtfw.core.process import Process, ProcessOptions, Sequence


def dump(process: Process) -> str:
    """Return a configuration that runs to the same job, with every parameter and option written out.

    Conditions, loops, clones and imports of the original are gone; what they came to is there. Loading the text and
    dumping the process again gives the same text.

    Raises:
        ConfigurationError: naming every parameter whose value cannot be written, e.g. a lambda.
    """
    return _Dump(process).text()


class _Dump:
    def __init__(self, process: Process) -> None:
        self.process = process
        self.imports = Imports()
        self.problems: list[str] = []

    def text(self) -> str:
        made = call(self.imports.name(Process), [("", quoted(self.process.name))])
        blocks = [layout("process = ", made) + "\n" + self._options()]
        blocks += [self._assign(label, self._module(module)) for label, module in self.process.modules.items()]
        paths = [self._assign(label, self._sequence(item)) for label, item in self._ordered_sequences()]
        blocks += ["\n".join(paths)] if paths else []
        if self.problems:
            raise ConfigurationError(self.problems)
        head = f"# Process {self.process.name} with every parameter and option written out."
        return "\n\n".join([head, self.imports.statements(), *blocks]) + "\n"

    def _options(self) -> str:
        options = self.process.options
        fields = [
            (f"{name}=", self._value(getattr(options, name), f"process.options.{name}"))
            for name in ProcessOptions.model_fields
        ]
        return layout("process.options = ", call(self.imports.name(ProcessOptions), fields, one_per_line=True))

    def _module(self, module: Module) -> Expression:
        where = f"{module._location}: {_target(module.__dict__.get('label', '?'))}"
        try:
            name = self.imports.name(type(module))
        except NotWritable as error:
            self.problems.append(f"{where}: {error}")
            name = type(module).__name__
        settings = _all_settings(module)
        written = [(f"{k}=", self._value(v, f"{where}: parameter '{k}'")) for k, v in settings.items()]
        return call(name, written, one_per_line=True)

    def _value(self, value: Any, where: str) -> Expression:
        try:
            return write_value(value, self.imports)
        except NotWritable as error:
            self.problems.append(f"{where} = {value!r} cannot be written as Python: {error}")
        except RecursionError:
            self.problems.append(f"{where} cannot be written as Python: it contains itself")
        return "..."

    def _ordered_sequences(self) -> Iterator[tuple[str, Sequence]]:
        """The labelled sequences as they stand, but each after those it contains."""
        done: set[str] = set()

        def visit(label: str, sequence: Sequence) -> Iterator[tuple[str, Sequence]]:
            if label in done:
                return
            done.add(label)
            for inner in _unlabelled_too(sequence):
                if self._is_labelled(inner):
                    yield from visit(inner.label, inner)
            yield label, sequence

        for label, sequence in self.process.sequences.items():
            yield from visit(label, sequence)

    def _is_labelled(self, item: Module | Sequence) -> bool:
        label = item.__dict__.get("label", "")
        return item in (self.process.modules.get(label), self.process.sequences.get(label))

    def _sequence(self, sequence: Sequence) -> Expression:
        return call(self.imports.name(type(sequence)), [("", self._item(item)) for item in sequence.items])

    def _item(self, item: Any) -> Expression:
        if isinstance(item, Decision):
            if item.want == "ignore":
                return call(self.imports.name(ignore), [("", self._item(item.module))])
            return f"{'~' if item.want == 'reject' else ''}{self._item(item.module)}"
        if isinstance(item, (Module, Sequence)) and self._is_labelled(item):
            return _target(item.label)
        if isinstance(item, Module):
            return self._module(item)
        if isinstance(item, Sequence):
            return self._sequence(item)
        return self._value(item, f"an item of a path of process {self.process.name}")

    def _assign(self, label: str, expression: Expression) -> str:
        if _is_name(label):
            return layout(f"process.{label} = ", expression)
        return layout("", call("setattr", [("", "process"), ("", quoted(label)), ("", expression)]))


def _unlabelled_too(sequence: Sequence) -> Iterator[Sequence]:
    for item in sequence.items:
        if isinstance(item, Sequence):
            yield item
            yield from _unlabelled_too(item)


def _is_name(label: str) -> bool:
    return label.isidentifier() and not keyword.iskeyword(label)


def _target(label: str) -> str:
    return f"process.{label}" if _is_name(label) else str(call("getattr", [("", "process"), ("", quoted(label))]))


def _all_settings(module: Module) -> dict[str, Any]:
    """What was set and all defaults, in the order of declaration; templates of inputs filled in."""
    given = module.settings
    parameters = {n: given.get(n, d.default) for n, d in module.declared(Parameter).items()}
    settings: dict[str, Any] = {}
    for name, declaration in module.declarations.items():
        if name in parameters:
            settings[name] = parameters[name]
        elif isinstance(declaration, InputList):
            settings[name] = given.get(name, declaration.default)
        elif isinstance(declaration, Input):
            settings[name] = given[name] if name in given else _filled(declaration.default, parameters)
    settings |= {name: value for name, value in given.items() if name not in settings}
    return {name: value for name, value in settings.items() if value is not REQUIRED and value is not _NO_INPUT}


_NO_INPUT = object()


def _filled(template: str | None, parameters: dict[str, Any]) -> Any:
    if template is None:
        return _NO_INPUT
    try:
        return template.format_map(parameters)
    except (KeyError, ValueError, IndexError, AttributeError):
        return template
