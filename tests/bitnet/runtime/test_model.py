"""A model is understood from its header, and what is wrong with it is said before a program meets it."""

from __future__ import annotations

import os
import shutil
import struct
import time
from pathlib import Path

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitnet.errors import ModelUnusable
from bitnet.model import read_model
from bitnet.model.types import ggml_name, tensor_bytes, type_name
from tests.bitnet.runtime.gguf_files import Gguf, Q, with_type_id


def test_a_model_says_what_it_is_made_of(tmp_path: Path) -> None:
    facts = read_model(Gguf(layers=3, chat_template="{{ x }}").write(tmp_path / "m.gguf"))

    assert (facts.name, facts.architecture) == ("tiny", "bitnet")
    assert facts.tensor_types == {"TQ2_0": 3, "F16": 1}
    assert facts.layer_bytes == (264, 264, 264)
    assert facts.other_bytes == 10 * 256 * 2
    assert (facts.context_length, facts.embedding_length, facts.vocabulary) == (4096, 256, 10)
    assert facts.chat_template
    assert facts.as_dict()["layers"] == 3


def test_our_reading_agrees_with_the_gguf_package(tmp_path: Path) -> None:
    path = Gguf(kind=Q.Q8_0, layers=5).write(tmp_path / "m.gguf")
    theirs = gguf.GGUFReader(path)

    facts = read_model(path)

    assert sum(facts.tensor_types.values()) == len(theirs.tensors)
    assert sum(facts.layer_bytes) + facts.other_bytes == sum(int(tensor.n_bytes) for tensor in theirs.tensors)


def test_the_cache_of_a_token_counts_keys_and_values_of_the_shared_heads(tmp_path: Path) -> None:
    facts = read_model(Gguf(heads=4, kv_heads=2, width=256).write(tmp_path / "m.gguf"))

    assert facts.kv_per_token == (2 * (64 + 64),) * 2


def test_layers_may_differ_in_their_heads_and_name_their_own_key_length(tmp_path: Path) -> None:
    extra = {"bitnet.attention.key_length": 32, "bitnet.attention.value_length": 16}
    facts = read_model(Gguf(kv_heads=[1, 4], extra=extra).write(tmp_path / "m.gguf"))

    assert facts.kv_per_token == (1 * 48, 4 * 48)


def test_settings_for_more_layers_than_there_are_tensors_are_taken_at_their_largest(tmp_path: Path) -> None:
    facts = read_model(Gguf(kv_heads=[1, 2, 4]).write(tmp_path / "m.gguf"))

    assert facts.kv_per_token == (4 * 128,) * 2


def test_a_big_endian_model_reads_the_same(tmp_path: Path) -> None:
    facts = read_model(Gguf(endian=gguf.GGUFEndian.BIG).write(tmp_path / "m.gguf"))

    assert (facts.tensor_types, facts.vocabulary) == ({"TQ2_0": 2, "F16": 1}, 10)


def test_a_vocabulary_of_128k_entries_is_skipped_within_a_second(tmp_path: Path) -> None:
    path = Gguf(tokens=128_256).write(tmp_path / "m.gguf")
    began = time.monotonic()

    assert read_model(path).vocabulary == 128_256
    assert time.monotonic() - began < 1


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = Gguf(layers=1).write(tmp_path / "m.gguf")
    assert len(read_model(path).layer_bytes) == 1

    Gguf(layers=2).write(path)

    assert len(read_model(path).layer_bytes) == 2


def test_a_file_changed_in_place_with_its_size_and_time_kept_is_read_again(tmp_path: Path) -> None:
    path = Gguf(architecture="bitnet").write(tmp_path / "m.gguf")
    assert read_model(path).architecture == "bitnet"
    before = path.stat()

    time.sleep(0.02)  # kernels keep the time of a status by ticks
    with path.open("r+b") as file:
        content = file.read()
        file.seek(0)
        file.write(content.replace(b"bitnet", b"tenbit"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert read_model(path).architecture == "tenbit"


def test_the_parts_of_a_split_model_count_together(tmp_path: Path) -> None:
    first = Gguf(layers=1).write(tmp_path / "m-00001-of-00002.gguf")
    shutil.copy(first, tmp_path / "m-00002-of-00002.gguf")

    facts = read_model(first)

    assert facts.size == 2 * first.stat().st_size
    assert facts.layer_bytes == (528,)


@pytest.mark.parametrize("type_id", [36, 37, 38])
def test_the_types_of_bitnet_cpp_are_named(tmp_path: Path, type_id: int) -> None:
    path = with_type_id(Gguf(kind=Q.Q8_0).write(tmp_path / "m.gguf"), "blk.0.ffn_up.weight", type_id)

    assert {36: "I2_S", 37: "I8_S", 38: "TL1"}[type_id] in read_model(path).tensor_types


def test_type_39_is_mxfp4_where_the_file_has_room_for_it_and_tl2_where_not() -> None:
    packed = 1024 // 32 * 17

    assert type_name(39, 1024, room=packed, alignment=32) == "MXFP4"
    assert type_name(39, 1024, room=256, alignment=32) == "TL2"


def test_a_type_newer_than_the_package_is_shown_by_number(tmp_path: Path) -> None:
    path = with_type_id(Gguf().write(tmp_path / "m.gguf"), "blk.1.ffn_up.weight", 250)

    facts = read_model(path)

    assert facts.tensor_types["type 250"] == 1
    assert facts.layer_bytes[1] > 0, "its size is the room that it has in the file"


def test_sizes_follow_the_block_of_each_type() -> None:
    assert tensor_bytes("F32", (3, 5)) == 60
    assert tensor_bytes("TQ2_0", (256, 4)) == 264
    assert tensor_bytes("I2_S", (256, 4)) == 256 + 32
    assert tensor_bytes("TL2", (256, 4)) is None


@pytest.mark.parametrize(("name", "spelled"), [("TQ2_0", "tq2_0"), ("Q4_K", "q4_K"), ("IQ2_XXS", "iq2_xxs")])
def test_types_are_spelled_as_ggml_spells_them(name: str, spelled: str) -> None:
    assert ggml_name(name) == spelled


class TestRefusals:
    """Each says what is wrong and what to do."""

    def test_a_missing_model(self, tmp_path: Path) -> None:
        with pytest.raises(ModelUnusable, match="no such model file") as caught:
            read_model(tmp_path / "none.gguf")
        assert f"ls {tmp_path}" in caught.value.next_step

    def test_a_missing_part(self, tmp_path: Path) -> None:
        first = Gguf().write(tmp_path / "m-00001-of-00002.gguf")
        with pytest.raises(ModelUnusable, match=r"m-00002-of-00002\.gguf: no such model file"):
            read_model(first)

    def test_a_path_through_a_file(self, model: Path) -> None:
        with pytest.raises(ModelUnusable, match="cannot be read"):
            read_model(model / "inside")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ModelUnusable, match="cannot be read"):
            read_model(tmp_path)

    def test_an_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "m.gguf").touch()
        with pytest.raises(ModelUnusable, match="truncated"):
            read_model(tmp_path / "m.gguf")

    def test_another_format(self, tmp_path: Path) -> None:
        (tmp_path / "m.gguf").write_bytes(b"PK\x03\x04" + bytes(100))
        with pytest.raises(ModelUnusable, match="not a GGUF model") as caught:
            read_model(tmp_path / "m.gguf")
        assert "b'PK" in caught.value.why

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_half_a_header(self, model: Path, share: float) -> None:
        data = model.read_bytes()
        header_end = data.index(b"blk.1.ffn_up.weight") + 50
        model.write_bytes(data[: int(header_end * share)])
        with pytest.raises(ModelUnusable, match="truncated"):
            read_model(model)

    def test_a_file_cut_inside_its_last_tensor(self, model: Path) -> None:
        size = model.stat().st_size
        model.write_bytes(model.read_bytes()[: size - 64])
        with pytest.raises(ModelUnusable, match="truncated") as caught:
            read_model(model)
        assert f"the file has {size - 64}" in caught.value.why

    def test_a_cut_tensor_of_unknown_size(self, model: Path) -> None:
        with_type_id(model, "blk.1.ffn_up.weight", 250)
        data = model.read_bytes()
        model.write_bytes(data[: -(264 + 24)])
        with pytest.raises(ModelUnusable, match="truncated"):
            read_model(model)

    @pytest.mark.parametrize(
        ("offset", "layout", "value", "expected"),
        [
            (4, "<I", 9, "version 9"),
            (8, "<Q", 1 << 60, "do not fit"),
            (16, "<Q", 1 << 60, "do not fit"),
            (24, "<Q", 1 << 40, "do not fit"),
            (24 + 8 + len("general.architecture"), "<I", 77, "77 is no GGUF value type"),
        ],
    )
    def test_a_header_that_contradicts_itself(
        self, model: Path, offset: int, layout: str, value: int, expected: str
    ) -> None:
        data = bytearray(model.read_bytes())
        struct.pack_into(layout, data, offset, value)
        model.write_bytes(data)
        with pytest.raises(ModelUnusable) as caught:
            read_model(model)
        assert expected in caught.value.why

    def test_too_many_dimensions(self, model: Path) -> None:
        data = bytearray(model.read_bytes())
        name = b"blk.1.ffn_up.weight"
        struct.pack_into("<I", data, data.index(name) + len(name), 9)
        model.write_bytes(data)
        with pytest.raises(ModelUnusable) as caught:
            read_model(model)
        assert "has 9 dimensions" in caught.value.why

    def test_an_alignment_of_zero(self, tmp_path: Path) -> None:
        path = Gguf(extra={"general.alignment": 0}).write(tmp_path / "m.gguf")
        with pytest.raises(ModelUnusable) as caught:
            read_model(path)
        assert "general.alignment is 0" in caught.value.why

    def test_arrays_of_arrays(self, model: Path) -> None:
        data = bytearray(model.read_bytes())
        key = b"tokenizer.ggml.tokens"
        struct.pack_into("<I", data, data.index(key) + len(key) + 4, int(gguf.GGUFValueType.ARRAY))
        model.write_bytes(data)
        with pytest.raises(ModelUnusable) as caught:
            read_model(model)
        assert "arrays of arrays" in caught.value.why


@given(at=st.integers(0, 600), byte=st.integers(0, 255))
def test_no_damaged_byte_makes_the_reader_crash(tmp_path_factory: pytest.TempPathFactory, at: int, byte: int) -> None:
    path = Gguf().write(tmp_path_factory.mktemp("damaged") / "m.gguf")
    data = bytearray(path.read_bytes())
    data[min(at, len(data) - 1)] = byte
    path.write_bytes(data)

    try:
        read_model(path)
    except ModelUnusable as error:
        assert str(path) in error.what
