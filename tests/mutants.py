"""Small changes to a right answer, such as slips make: an operator, a constant, an axis, a sign, a line."""

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import jupytext

ROOT = Path(__file__).parent.parent
BINARY = {
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div, ast.Add], ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Div], ast.Mod: [ast.FloorDiv], ast.Pow: [ast.Mult], ast.BitAnd: [ast.BitOr], ast.BitOr: [ast.BitAnd],
}  # fmt: skip
COMPARED = {
    ast.Lt: [ast.LtE, ast.Gt], ast.LtE: [ast.Lt, ast.GtE], ast.Gt: [ast.GtE, ast.Lt], ast.GtE: [ast.Gt, ast.LtE],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is], ast.In: [ast.NotIn], ast.NotIn: [ast.In],
}  # fmt: skip
PAIRS = [
    "max min", "argmax argmin", "sum mean", "cumsum cumprod", "exp expm1", "log log1p", "sin cos", "floor ceil", "tril triu",
    "any all", "zeros ones", "zeros_like ones_like", "softmax log_softmax", "append insert", "amax amin", "sigmoid tanh",
    "cumsum flip", "sqrt abs", "update clear", "setdefault get", "index count", "eq ne", "lt le", "gt ge",
]  # fmt: skip
OTHER = {}
for pair in PAIRS:
    one, two = pair.split()
    OTHER.setdefault(one, two), OTHER.setdefault(two, one)


def answers(name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Of a sheet: for each function that answers a question its cell's source, and all code that stands before it."""
    answered, before, so_far = {}, {}, ""
    for cell in jupytext.read(ROOT / "solutions" / f"{name}.py").cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "code" or "stub" in tags:
            continue
        source = re.sub(r"^check.*$", "", cell.source, flags=re.MULTILINE)
        if "answer" in tags:
            for node in ast.parse(source).body:
                if isinstance(node, ast.FunctionDef):
                    answered[node.name], before[node.name] = source, so_far
        so_far += source.replace("from course.check import sheet", "") + "\n"
    return answered, before


def mutants(source: str, shuffle=lambda places: None) -> Iterator[tuple[str, str]]:
    """What was changed, and the changed source: each possible change alone, in the order that `shuffle` gives them."""
    text = _bare(source)
    places = [
        (number, change)
        for number, there in enumerate(_walk(ast.parse(text)))
        for change in range(len(_changes(*there)))
    ]
    shuffle(places)
    for number, change in places:
        changed = ast.parse(text)
        there = next(itertools.islice(_walk(changed), number, None))
        before = ast.unparse(there[0])
        says = _changes(*there)[change]()
        new = ast.unparse(ast.fix_missing_locations(changed))
        if new != text:
            yield f"line {getattr(there[0], 'lineno', 0)}: {says} in {before[:60]}", new


def _bare(source: str) -> str:
    """Without docstrings and comments."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _walk(node, parent=None, field=None, index=None):
    yield node, parent, field, index
    for name, value in ast.iter_fields(node):
        if isinstance(value, list):
            for number, item in enumerate(value):
                if isinstance(item, ast.AST):
                    yield from _walk(item, node, name, number)
        elif isinstance(value, ast.AST):
            yield from _walk(value, node, name, None)


def _changes(node, parent, field, index) -> list:
    """The changes that can be made to a node: functions that make one in place and say what it was."""

    def put(new, says):
        def change():
            if index is None:
                setattr(parent, field, new)
            else:
                getattr(parent, field)[index] = new
            return says

        return change

    def of(attribute, value, says):
        def change():
            setattr(node, attribute, value)
            return says

        return change

    done = []
    annotation = field in ("annotation", "returns")
    if annotation or parent is None:
        return []
    if isinstance(node, ast.BinOp):
        done += [of("op", op(), f"{type(node.op).__name__} becomes {op.__name__}") for op in BINARY.get(type(node.op), [])]
        if isinstance(node.op, (ast.Sub, ast.Div, ast.MatMult)):
            done.append(put(ast.BinOp(node.right, node.op, node.left), "operands exchanged"))
        done += [put(node.left, "right operand dropped"), put(node.right, "left operand dropped")]
    elif isinstance(node, ast.AugAssign):
        done += [of("op", op(), f"{type(node.op).__name__} becomes {op.__name__}") for op in BINARY.get(type(node.op), [])]
    elif isinstance(node, ast.Compare):
        for op in COMPARED.get(type(node.ops[0]), []):
            done.append(of("ops", [op(), *node.ops[1:]], f"{type(node.ops[0]).__name__} becomes {op.__name__}"))
    elif isinstance(node, ast.BoolOp):
        other = ast.Or if isinstance(node.op, ast.And) else ast.And
        done.append(of("op", other(), f"becomes {other.__name__}"))
    elif isinstance(node, ast.UnaryOp):
        done.append(put(node.operand, f"{type(node.op).__name__} dropped"))
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            done += [put(ast.Constant(0), "becomes 0"), put(ast.UnaryOp(ast.USub(), ast.Constant(2)), "becomes -2")]
    elif isinstance(node, ast.Constant) and not isinstance(parent, ast.Expr):
        value = node.value
        if isinstance(value, bool):
            done.append(put(ast.Constant(not value), f"becomes {not value}"))
        elif isinstance(value, int):
            done += [put(ast.Constant(value + 1), f"becomes {value + 1}")]
            done += [put(ast.Constant(value - 1), f"becomes {value - 1}")] if value > 0 else []
        elif isinstance(value, float):
            new = value * 2 if value and abs(value) != float("inf") else 1.0
            done.append(put(ast.Constant(new), f"becomes {new}"))
        elif isinstance(value, str) and value:
            done.append(put(ast.Constant(value[1:]), f"becomes {value[1:]!r}"))
    elif isinstance(node, ast.IfExp):
        done += [put(ast.IfExp(node.test, node.orelse, node.body), "branches exchanged")]
    elif isinstance(node, ast.Call):
        for number, keyword in enumerate(node.keywords):
            rest = [k for k in node.keywords if k is not keyword]
            done.append(of("keywords", rest, f"{keyword.arg} dropped"))
        if isinstance(node.func, ast.Name) and node.func.id == "range":
            last = ast.BinOp(node.args[0 if len(node.args) == 1 else 1], ast.Sub(), ast.Constant(1))
            args = [last] if len(node.args) == 1 else [node.args[0], last, *node.args[2:]]
            done.append(of("args", args, "one less in the range"))
        if isinstance(node.func, ast.Attribute) and not node.keywords and len(node.args) <= 1:
            done.append(put(node.func.value, f"{node.func.attr}() dropped"))
        if isinstance(node.func, ast.Name) and len(node.args) == 1 and not node.keywords:
            done.append(put(node.args[0], f"{node.func.id}() dropped"))
    elif isinstance(node, ast.Attribute) and node.attr in OTHER:
        done.append(of("attr", OTHER[node.attr], f"{node.attr} becomes {OTHER[node.attr]}"))
    elif isinstance(node, ast.Name) and node.id in OTHER and isinstance(parent, ast.Call) and field == "func":
        done.append(of("id", OTHER[node.id], f"{node.id} becomes {OTHER[node.id]}"))
    elif isinstance(node, ast.Slice):
        done += [of("lower", None, "lower bound dropped")] if node.lower else []
        done += [of("upper", None, "upper bound dropped")] if node.upper else []
    elif isinstance(node, (ast.If, ast.While)):
        done += [of("test", ast.UnaryOp(ast.Not(), node.test), "condition reversed")]
        done += [put(ast.Pass(), "dropped")] if isinstance(node, ast.If) else []
    elif isinstance(node, (ast.Assign, ast.Expr, ast.For, ast.With, ast.Raise)):
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            done.append(put(ast.Pass(), "dropped"))
    elif isinstance(node, (ast.Break, ast.Continue)):
        done.append(put(ast.Pass(), "dropped"))
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, (ast.Tuple, ast.Dict)):
        done.append(of("value", ast.UnaryOp(ast.USub(), node.value), "its sign"))
    if isinstance(node, ast.AugAssign):
        done.append(put(ast.Pass(), "dropped"))
    if isinstance(node, ast.comprehension) and node.ifs:
        done.append(of("ifs", [], "condition dropped"))
    return done


class Rewriting(ast.NodeTransformer):
    """Another way to write the same: what a colleague's right answer may look like."""

    def __init__(self, chance, names: dict[str, str]) -> None:
        self.chance, self.names = chance, names

    def visit_Name(self, node):
        node.id = self.names.get(node.id, node.id)
        return node

    def visit_arg(self, node):
        node.arg = self.names.get(node.arg, node.arg)
        return node

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        node.name = self.names.get(node.name, node.name)
        return node

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if self.chance():
            if isinstance(node.op, ast.Mult) or isinstance(node.op, ast.Add) and _number(node.right):
                return ast.BinOp(node.right, node.op, node.left)
            if isinstance(node.op, ast.Sub) and (_number(node.left) or _number(node.right)):
                return ast.BinOp(ast.UnaryOp(ast.USub(), node.right), ast.Add(), node.left)
            if isinstance(node.op, ast.Div):
                return ast.BinOp(ast.BinOp(ast.Constant(1), ast.Div(), node.right), ast.Mult(), node.left)
        return node

    def visit_Compare(self, node):
        self.generic_visit(node)
        turned = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE, ast.Eq: ast.Eq, ast.NotEq: ast.NotEq}
        if len(node.ops) == 1 and type(node.ops[0]) in turned and self.chance():
            return ast.Compare(node.comparators[0], [turned[type(node.ops[0])]()], [node.left])
        return node

    def visit_IfExp(self, node):
        self.generic_visit(node)
        return ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.orelse, node.body) if self.chance() else node

    def visit_If(self, node):
        self.generic_visit(node)
        if node.orelse and self.chance():
            return ast.If(ast.UnaryOp(ast.Not(), node.test), node.orelse, node.body)
        return node

    def visit_Return(self, node):
        self.generic_visit(node)
        if node.value is not None and self.chance():
            return [ast.Assign([ast.Name("result", ast.Store())], node.value), ast.Return(ast.Name("result", ast.Load()))]
        return node

    def visit_Constant(self, node):
        if type(node.value) is int and 1 < node.value < 1000 and self.chance():
            return ast.BinOp(ast.Constant(node.value - 1), ast.Add(), ast.Constant(1))
        return node

    def visit_match_case(self, node):
        return node  # a pattern holds no sums


def _number(node) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def rewritten(source: str, random) -> str:
    """The same function, written another way: its names, the order of what commutes, branches, steps."""
    tree = ast.parse(source)
    keywords = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    outer = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    bound = set()
    for function in tree.body:
        if isinstance(function, ast.FunctionDef):
            bound |= {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
            bound |= {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
            bound |= {node.name for node in ast.walk(function) if isinstance(node, ast.FunctionDef)}
    names = {name: f"my_{name}" for name in bound - keywords - outer}
    new = Rewriting(lambda: random.random() < 0.5, names).visit(tree)
    return ast.unparse(ast.fix_missing_locations(new))
