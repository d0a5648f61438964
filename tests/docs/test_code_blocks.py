"""Code in the documentation is real: it compiles, its imports resolve, and a page's blocks run one after the other."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.docs.pages import Block, blocks, name_of, pages

PYTHON = [block for page in pages() for block in blocks(page, "python")]
RUNNABLE = [page for page in pages() if any(block.run for block in blocks(page, "python"))]


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.place)
def test_a_block_compiles_and_its_imports_of_cherga_resolve(block: Block) -> None:
    tree = compile(block.text, block.place, "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    missing = [name for node in ast.walk(tree) for name in _unresolved(node)]

    assert not missing


@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_the_blocks_of_a_page_run_one_after_the_other(page: Path, tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text("\n\n".join(block.text for block in blocks(page, "python") if block.run), encoding="utf-8")
    environment = {**os.environ, "CHERGA_BROKER_URL": f"sqlite:///{tmp_path}/cherga.db"}
    ran = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=55
    )

    assert ran.returncode == 0, ran.stderr


def _unresolved(node: ast.AST) -> list[str]:
    if not isinstance(node, ast.ImportFrom) or not node.module or not node.module.startswith("cherga"):
        return []

    module = import_module(node.module)
    return [f"{node.module}.{alias.name}" for alias in node.names if not hasattr(module, alias.name)]
