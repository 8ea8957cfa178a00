"""Outputs are whole or not there: what was in place stays when anything fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dsl.data_files import data_name, write_with_data
from dsl.diagnostics import SpecError
from dsl.files import replacing, write_atomically
from dsl.locks import folder_locked
from tests.full_disk import largest_file


def message(error: pytest.ExceptionInfo[SpecError]) -> str:
    assert error.value.exit_code == 4
    (diagnostic,) = error.value.diagnostics
    return diagnostic.message


def interrupt_while_writing(place: Path) -> None:
    with replacing(place) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt


def test_a_new_file_is_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / "net.py", b"import torch\n")
    assert (tmp_path / "net.py").read_bytes() == b"import torch\n"
    assert os.listdir(tmp_path) == ["net.py"]


def test_an_old_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    place = tmp_path / "net.py"
    place.write_bytes(b"old")
    place.chmod(0o640)
    write_atomically(place, b"new")
    assert place.read_bytes() == b"new"
    assert place.stat().st_mode & 0o777 == 0o640


def test_a_link_keeps_pointing_at_the_file_that_is_written(tmp_path: Path) -> None:
    (tmp_path / "real.py").write_bytes(b"old")
    (tmp_path / "link.py").symlink_to("real.py")
    write_atomically(tmp_path / "link.py", b"new")
    assert (tmp_path / "link.py").is_symlink()
    assert (tmp_path / "real.py").read_bytes() == b"new"


def test_a_full_disk_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    place = tmp_path / "net.py"
    place.write_bytes(b"old")
    with largest_file(1000), pytest.raises(SpecError) as error:
        write_atomically(place, b"x" * 5000)
    assert message(error) == f"cannot write `{place}`: file too large"
    assert place.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["net.py"]


def with_data(place: Path, data: bytes) -> list[str]:
    """Write a file that names its data, and data; what is in the folder then."""
    name = data_name(place.name, data)
    write_with_data(place, name.encode(), {name: data})
    assert place.with_name(place.read_text()).read_bytes() == data
    return sorted(os.listdir(place.parent))


def test_data_that_nothing_names_any_more_go(tmp_path: Path) -> None:
    place = tmp_path / "net.onnx"
    others = ["net.onnx.data", f"net.onnx.{'0' * 31}.data", f"other.onnx.{'0' * 32}.data"]
    for name in others:
        (tmp_path / name).write_bytes(b"of somebody else")
    assert len(with_data(place, b"1")) == len(with_data(place, b"2")) == len(with_data(place, b"2")) == len(others) + 2
    write_with_data(place, b"small", {})
    assert sorted(os.listdir(tmp_path)) == sorted(["net.onnx", *others])


def test_files_with_data_take_their_places_one_after_the_other(tmp_path: Path) -> None:
    """Otherwise one that has put its data in place would find them removed by the other, as data that nothing names."""
    place = tmp_path / "net.onnx"
    with_data(place, b"old")
    with folder_locked(tmp_path) as alone:
        assert alone
        writer = threading.Thread(target=with_data, args=(place, b"new"))
        writer.start()
        writer.join(0.2)
        assert writer.is_alive() and place.with_name(place.read_text()).read_bytes() == b"old"
    writer.join()
    assert place.with_name(place.read_text()).read_bytes() == b"new"


def test_outputs_do_not_share_their_data(tmp_path: Path) -> None:
    names = ["a.onnx", "b.onnx", "a b.onnx", "a\x1b.onnx", os.fsdecode(b"a\xff.onnx"), "a" * 200, "-", ".onnx"]
    for _ in range(2):
        for name in names:
            with_data(tmp_path / name, b"the same")
    assert len(os.listdir(tmp_path)) == 2 * len(names)
    assert all(re.fullmatch(r"[\w.+-]+", data_name(name, b"")) for name in names)


def test_data_are_not_replaced_when_the_file_that_names_them_fails(tmp_path: Path) -> None:
    place = tmp_path / "net.onnx"
    before = with_data(place, b"old")
    for content, data in ((b"x" * 5000, b"new"), (b"new", b"x" * 5000)):
        with largest_file(1000), pytest.raises(SpecError):
            write_with_data(place, content, {data_name(place.name, data): data})
        assert sorted(os.listdir(tmp_path)) == before and place.with_name(place.read_text()).read_bytes() == b"old"


def test_an_interrupt_leaves_the_old_file(tmp_path: Path) -> None:
    place = tmp_path / "net.py"
    place.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        interrupt_while_writing(place)
    assert place.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["net.py"]


def test_a_device_that_is_full_is_reported() -> None:
    with pytest.raises(SpecError) as error:
        write_atomically("/dev/full", b"text")
    assert message(error) == "cannot write `/dev/full`: no space left on device"


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as error:
        write_atomically(tmp_path / "absent" / "net.py", b"")
    assert message(error).endswith(f"there is no directory `{tmp_path / 'absent'}`")


def test_a_directory_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as error:
        write_atomically(tmp_path, b"")
    assert message(error) == f"cannot write `{tmp_path}`: it is a directory"


def test_the_spec_is_never_overwritten(tmp_path: Path) -> None:
    spec = tmp_path / "net.dl"
    spec.write_text("model")
    (tmp_path / "alias.dl").symlink_to(spec)
    for output in (spec, tmp_path / "alias.dl"):
        with pytest.raises(SpecError) as error:
            write_atomically(output, b"", inputs=[spec])
        assert message(error) == f"the output `{output}` is the input `{spec}`"
    assert spec.read_text() == "model"


def test_a_reader_that_stops_early_is_no_error() -> None:
    program = "from dsl.files import write_atomically; write_atomically('-', b'line\\n' * 200_000)"
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stderr is not None
    assert writer.stdout.readline() == b"line\n"
    writer.stdout.close()
    with writer.stderr:
        assert writer.stderr.read() == b""
    assert writer.wait() == 0
