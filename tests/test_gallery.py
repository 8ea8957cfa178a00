"""`dslc show --markdown`: one section for a spec, and for several a page with contents, a chapter for each folder, the oldest first."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner

from dsl.commands.gallery import block_rows, blocks_picture, code_lines, escaped
from dsl.commands.show import show_command
from dsl.compiler import compile_graph
from dsl.source import Source
from dsl.summary import summarize

SPECS = Path(__file__).parents[1] / "specs"


def markdown(*names: str, output: str = "-") -> str:
    """What the command prints for specs, from where a user would call it."""
    ran = CliRunner().invoke(show_command, ["--markdown", "-o", output, *(str(SPECS / name) for name in names)])
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def test_one_spec_is_one_section() -> None:
    text = markdown("cnn/lenet.dl")
    assert text.startswith("## LeNet\n")
    assert "10 lines, 61,706 parameters." in text
    assert text.count("<details>") == text.count("</details>") == 2
    assert "```mermaid\nflowchart TB\n" in text
    assert re.search(r"^fc3 +Linear +f32\[B, 10\] +850 ", text, re.M)


def test_a_page_has_a_chapter_for_each_folder_and_the_oldest_first() -> None:
    text = markdown("cnn/vgg.dl", "cnn/lenet.dl", "gan/gan.dl")
    assert re.findall(r"^##+ .*", text, re.M) == ["## cnn", "### LeNet", "### VGG", "## gan", "### Generator"]
    assert re.findall(r"\(#([\w-]+)\)", text) == ["cnn", "lenet", "vgg", "gan", "generator"]
    assert "| [LeNet](#lenet) | 1998 | LeNet-5, the convolutional network that read cheques," in text
    assert "Trainings: `Ring`." in text


def test_equal_headings_get_the_links_that_github_gives_them() -> None:
    text = markdown("cnn/lenet.dl", "cnn/lenet.dl")
    assert re.findall(r"\(#([\w-]+)\)", text) == ["cnn", "lenet", "lenet-1"]


def test_links_to_specs_start_from_where_the_page_is(tmp_path: Path) -> None:
    spec = tmp_path / "specs" / "net.dl"
    spec.parent.mkdir()
    spec.write_text("model Net()(x: float[B, 3]) {\n  return x -> Linear(2)\n}\n")
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    ran = CliRunner().invoke(show_command, ["--markdown", str(spec), "-o", str(page)])
    assert ran.exit_code == 0
    assert "](../specs/net.dl): 3 lines, 8 parameters." in page.read_text()


def test_a_big_net_is_shown_at_the_level_of_its_blocks() -> None:
    rows = block_rows(summarize(compile_graph(SPECS / "cnn" / "googlenet.dl")).rows)
    assert [r.definition for r in rows].count("Inception") == 9
    assert not any(r.definition == "Conv2d" for r in rows)
    assert len(rows) <= 24


def test_layers_of_the_library_stay_closed_in_a_picture() -> None:
    drawn = blocks_picture(compile_graph(SPECS / "segmentation" / "unet.dl", {"widths": [4, 8], "size": 44}).main)
    assert drawn is not None
    opened = {box.label for box in drawn.boxes if box.opened is not None}
    assert opened == {"down: DoubleConv", "down_1: DoubleConv", "merge: DoubleConv"}


def test_a_picture_that_no_page_has_room_for_is_left_out_and_named() -> None:
    chain = " -> ".join(["relu -> sigmoid"] * 30)
    graph = compile_graph(Source("deep.dl", f"model Deep()(x: float[B, 3]) {{\n  return x -> {chain}\n}}\n")).main
    assert blocks_picture(graph) is None
    assert "too large for a page: `dslc show" in markdown("meta_learning/maml.dl")


def test_lines_are_those_of_the_model() -> None:
    model = "# A net.\n\nmodel Net()(x: float[B, 3]) {\n  # First.\n  y = x -> Linear(2)\n\n  return y\n}\n"
    text = f'{model}\ntest "t" {{\n  assert 1 == 1\n}}\n'
    assert code_lines(Source("net.dl", text)) == 4


def test_signs_of_markdown_are_escaped_but_in_backticks() -> None:
    assert escaped("w_j * 2 of `a_b * c`") == r"w\_j \* 2 of `a_b * c`"


@pytest.mark.parametrize("arguments", [["--markdown", "-"], ["a.dl", "b.dl"]])
def test_what_cannot_be_shown_is_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(show_command, arguments).exit_code == 2


def test_the_table_of_line_counts_names_models_that_there_are() -> None:
    """What `make docs` compares with other implementations; the numbers change with the specs, and are not checked."""
    module = runpy.run_path(str(SPECS.parent / "benchmarks" / "line_counts.py"))
    rows = module["rows"]()
    assert len(rows) >= 25
    assert all(module["model_lines"](row).own > 0 for row in rows)


def test_lines_of_an_implementation_are_those_with_code() -> None:
    text = 'class Net(Module):\n    """A net."""\n\n    def forward(self, x):  # here\n        # there\n        return x\n'
    counted = runpy.run_path(str(SPECS.parent / "benchmarks" / "line_counts.py"))["_named_lines"]
    assert [counted(text, name) for name in ("Net", "Net.forward", "5-6", "Other")] == [3, 2, 1, 0]
