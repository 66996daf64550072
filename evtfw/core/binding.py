"""From descriptions to validated modules: parameters checked, references resolved, all mistakes collected.

Flow: settings of each module → parameters (validated) and references (text) → products of all modules → references
resolved to products and their types compared. Nothing is raised before everything was looked at.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Annotated, Any, cast

from pydantic import ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError

from evtfw.core.declare import REQUIRED, Accumulator, Input, InputList, Output, Parameter, Scope
from evtfw.core.errors import nearest
from evtfw.core.module import STREAM, Module, TriggerResults
from evtfw.core.process import Process
from evtfw.core.resource import Resource
from evtfw.core.source import ColumnInfo, Source
from evtfw.core.types import describe_type, fits

SOURCE = "source"
TRIGGER_RESULTS = "TriggerResults"


@dataclasses.dataclass(frozen=True, slots=True)
class Product:
    """A product that some module puts."""

    label: str
    name: str
    type: Any
    scope: Scope
    doc: str = ""
    unit: str | None = None

    @property
    def reference(self) -> str:
        """``label:name``."""
        return f"{self.label}:{self.name}"


RESULTS_PRODUCT = Product(TRIGGER_RESULTS, "results", TriggerResults, "event", "results of all paths")


@dataclasses.dataclass(slots=True)
class BoundModule:
    """A module of the process with its parameters validated and its inputs resolved."""

    label: str
    description: Module
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    references: dict[str, str] = dataclasses.field(default_factory=dict)
    rules: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    inputs: dict[str, Product] = dataclasses.field(default_factory=dict)
    lists: dict[str, tuple[Product, ...]] = dataclasses.field(default_factory=dict)

    @property
    def cls(self) -> type[Module]:
        """The module's class."""
        return type(self.description)

    @property
    def where(self) -> str:
        """``file:line: label (Class)``, the start of every message about it."""
        return f"{self.description._location}: {self.label} ({self.cls.__name__})"

    def consumed(self, scope: Scope = "event") -> Iterator[Product]:
        """All products that it reads."""
        products = [*self.inputs.values(), *(p for products in self.lists.values() for p in products)]
        return (p for p in products if p.scope == scope)

    def required(self) -> Iterator[tuple[str, Product]]:
        """The event products without which it cannot run, with the input's name."""
        declared = self.cls.declared(Input)
        return ((n, p) for n, p in self.inputs.items() if p.scope == "event" and not declared[n].optional)


class Binder:
    """Binds all modules of a process; ``problems`` collects what is wrong."""

    def __init__(self, process: Process) -> None:
        self.problems: list[str] = []
        self.resources: dict[Any, Resource] = {}
        self.modules = {label: BoundModule(label, m) for label, m in process.modules.items()}
        for module in self.modules.values():
            self._split_settings(module)
        self.products: dict[str, dict[str, Product]] = {
            TRIGGER_RESULTS: {"results": RESULTS_PRODUCT},
            **{label: self._products_of(m) for label, m in self.modules.items()},
        }

    # Settings

    def _split_settings(self, module: BoundModule) -> None:
        declarations = module.cls.declarations
        settings = dict(module.description.settings)
        settable = [n for n, d in declarations.items() if not isinstance(d, (Output, Accumulator))]
        for name in [n for n in settings if n not in settable]:
            self.problems.append(f"{module.where}: there is no parameter or input '{name}'{nearest(name, settable)}")
        for name, declared in module.cls.declared(Parameter).items():
            self._validate_parameter(module, declared, settings.get(name, declared.default))
        for name, declared in module.cls.declared(Input).items():
            self._note_reference(module, declared, settings.get(name, declared.default))
        for name, declared in module.cls.declared(InputList).items():
            given = settings.get(name, declared.default)
            if isinstance(given, str) or not all(isinstance(rule, str) for rule in given):
                self.problems.append(f"{module.where}: '{name}' must be a list of rules such as ['jets', 'toptag:*']")
                given = ()
            module.rules[name] = tuple(given)

    def _validate_parameter(self, module: BoundModule, declared: Parameter[Any], value: Any) -> None:
        if value is REQUIRED:
            self.problems.append(f"{module.where}: parameter '{declared.name}' is required ({declared.doc})")
            return
        if declared.choices is not None and value not in declared.choices:
            known = ", ".join(map(repr, declared.choices))
            self.problems.append(f"{module.where}: parameter '{declared.name}' is {value!r}; it must be one of {known}")
            return
        if hasattr(declared.type, "from_configuration"):
            self._make_resource(module, declared, value)
            return
        if value is declared.default:
            module.parameters[declared.name] = value
            return
        try:
            module.parameters[declared.name] = _adapter(declared).validate_python(value)
        except ValidationError as error:
            for detail in error.errors():
                inside = "".join(f"[{part!r}]" for part in detail["loc"])
                unit = f" (in {declared.unit})" if declared.unit else ""
                self.problems.append(
                    f"{module.where}: parameter '{declared.name}'{inside} is {detail['input']!r}: {detail['msg']}{unit}"
                )

    def _make_resource(self, module: BoundModule, declared: Parameter[Any], value: Any) -> None:
        key = (declared.type, value if isinstance(value, Hashable) else id(value))
        try:
            if key not in self.resources:
                self.resources[key] = declared.type.from_configuration(value)
            module.parameters[declared.name] = self.resources[key]
        except ValueError as error:
            self.problems.append(f"{module.where}: parameter '{declared.name}' is {value!r}: {error}")

    def _note_reference(self, module: BoundModule, declared: Input[Any], reference: Any) -> None:
        if reference is None:
            if not declared.optional:
                self.problems.append(f"{module.where}: input '{declared.name}' is required ({declared.doc})")
        elif not isinstance(reference, str):
            self.problems.append(
                f"{module.where}: input '{declared.name}' is {reference!r}; it must name a product, e.g. 'jets' or "
                "'jets:selected'"
            )
        else:
            module.references[declared.name] = _fill(reference, module.parameters)

    def _products_of(self, module: BoundModule) -> dict[str, Product]:
        products = {}
        for name, o in module.cls.declared(Output).items():
            products[name] = Product(module.label, name, o.type, o.scope, o.doc, o.unit)
            if o.scope != "event" and module.cls.concurrency == STREAM:
                self.problems.append(
                    f"{module.where}: output '{name}' belongs to the {o.scope}, but the module has one instance per "
                    "stream; set concurrency = ONE or SHARED on its class"
                )
        return products

    # References

    def add_source_columns(self, columns: Mapping[str, ColumnInfo]) -> None:
        """Make the source's columns known as products ``source:NAME``."""
        self.products[SOURCE] = _ColumnProducts(columns)

    def resolve_inputs(self) -> None:
        """Resolve the references of all inputs."""
        for module in self.modules.values():
            declared = module.cls.declared(Input)
            for name, reference in module.references.items():
                product = self._resolve(module, declared[name], reference)
                if product is not None:
                    module.inputs[name] = product

    def _resolve(self, module: BoundModule, declared: Input[Any], reference: str) -> Product | None:
        label, _, name = reference.partition(":")
        head = f"{module.where}: input '{declared.name}' = '{reference}'"
        products = self.products.get(label)
        if products is None:
            self.problems.append(f"{head}: there is no module '{label}'{nearest(label, self.products)}")
            return None
        if not name:
            name = declared.name if len(products) != 1 and declared.name in products else next(iter(products), "")
            if len(products) != 1 and name != declared.name:
                what = f"name one of its products: {', '.join(f'{label}:{n}' for n in list(products)[:12])}"
                self.problems.append(f"{head}: {what}" if products else f"{head}: module '{label}' has no products")
                return None
        product = products.get(name)
        if product is None:
            thing = "input has no branch" if label == SOURCE else f"module '{label}' has no product"
            if not (label == SOURCE and declared.optional):
                self.problems.append(f"{head}: the {thing} '{name}'{nearest(name, products)}")
            return None
        if product.scope != declared.scope:
            self.problems.append(f"{head}: that product belongs to the {product.scope}, not to the {declared.scope}")
            return None
        if not fits(product.type, declared.type):
            self.problems.append(
                f"{head}: the product is {describe_type(product.type)}, but {describe_type(declared.type)} is needed"
            )
            return None
        return product

    def resolve_lists(self, running: Iterable[str]) -> None:
        """Resolve the rules of all input lists, given the labels of the modules that run anyway."""
        available = [p for label in running for p in self.products.get(label, {}).values() if label != SOURCE]
        for module in self.modules.values():
            for name, declared in module.cls.declared(InputList).items():
                scope = [p for p in available if p.scope == declared.scope and p.label != module.label]
                module.lists[name] = tuple(self._matched(module, name, scope).values())

    def _matched(self, module: BoundModule, name: str, available: list[Product]) -> dict[str, Product]:
        chosen: dict[str, Product] = {}
        for rule in module.rules[name]:
            drop = rule.startswith("drop ")
            pattern = rule.removeprefix("drop ").removeprefix("keep ").strip()
            label, _, product_name = pattern.partition(":")
            if drop:
                for reference in [r for r, p in chosen.items() if _matches(p, label, product_name)]:
                    del chosen[reference]
                continue
            found = [p for p in self._candidates(label, available) if _matches(p, label, product_name)]
            if not found and not _is_wild(pattern):
                known = self.products.get(label, {}) if label in self.products else self.products
                self.problems.append(
                    f"{module.where}: '{name}' rule '{rule}' matches no product{nearest(product_name or label, known)}"
                )
            chosen.update((p.reference, p) for p in found)
        return chosen

    def _candidates(self, label: str, available: list[Product]) -> Iterable[Product]:
        if label == SOURCE or not _is_wild(label):
            return self.products.get(label, {}).values()
        return available

    def explicit_labels(self, module: BoundModule) -> Iterator[str]:
        """Labels that a module's rules name without wildcards: they make on-demand modules run."""
        for rules in module.rules.values():
            for rule in rules:
                label = rule.removeprefix("keep ").partition(":")[0]
                if not rule.startswith("drop ") and not _is_wild(label):
                    yield label


class _ColumnProducts(dict[str, Product]):
    """Products of the source, made when asked for: files have thousands of branches."""

    def __init__(self, columns: Mapping[str, ColumnInfo]) -> None:
        super().__init__()
        self._columns = columns

    def get(self, name: str, default: Any = None) -> Any:
        """The column as a product, or ``default``."""
        if name not in self._columns:
            return default
        info = self._columns[name]
        return Product(SOURCE, name, info.type, "event", info.doc)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def values(self) -> Any:
        """All columns as products; slow for files with thousands of branches."""
        return (self.get(name) for name in self._columns)


def _adapter(declared: Parameter[Any]) -> TypeAdapter[Any]:
    bounds: Any = declared.bounds
    annotated: Any = Annotated[declared.type, Field(**bounds)] if bounds else declared.type
    try:
        return TypeAdapter(annotated, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # models and dataclasses have a configuration of their own
        return TypeAdapter(annotated)


def _fill(reference: str, parameters: Mapping[str, Any]) -> str:
    try:
        return reference.format_map(parameters)
    except (KeyError, ValueError, IndexError):
        return reference


def _is_wild(text: str) -> bool:
    return any(c in text for c in "*?[")


def _matches(product: Product, label: str, name: str) -> bool:
    return fnmatch.fnmatchcase(product.label, label) and (not name or fnmatch.fnmatchcase(product.name, name))


def open_source(binder: Binder, make: Any) -> Source | None:
    """Make the source's running instance; None (and a problem) if the process has none or it is wrong."""
    sources = {label: m for label, m in binder.modules.items() if isinstance(m.description, Source)}
    for label, module in sources.items():
        if label != SOURCE:
            binder.problems.append(f"{module.where}: a source must be named process.{SOURCE}; there is exactly one")
    if SOURCE not in sources:
        binder.problems.append("the process has no source; write e.g. process.source = RootSource(files=[...])")
        return None
    source = sources[SOURCE]
    if any(problem.startswith(source.where) for problem in binder.problems):
        return None
    return cast(Source, make(source))
