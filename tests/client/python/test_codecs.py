"""Codecs on made-up keys and values: what comes back is inside the bounds of docs/kernels.md, or an error."""
import random
import struct

import pytest

import kvtier

SHAPE = (2, 2, 64, 2, 128)  # layers, planes, tokens, heads, dim
COUNT = 2 * 2 * 64 * 2 * 128
# The largest error beside the largest number of its group, as docs/kernels.md has it, half a step of bf16 included.
BOUNDS = {"fp8": 1 / 14, "fp8-tensor": 1 / 14, "int8": 1 / 200, "int4": 1 / 13}


def bf16(values):
    """Numbers to bf16, cut off: what is compared is the bf16 itself."""
    return b"".join(struct.pack("<f", value)[2:] for value in values)


def floats(raw):
    return [struct.unpack("<f", b"\0\0" + raw[i:i + 2])[0] for i in range(0, len(raw), 2)]


@pytest.fixture(scope="module")
def raw():
    draw = random.Random(5)
    # Keys with channels of very different size, as real ones have.
    return bf16(draw.gauss(0, 1) * (20 if i % 128 in (3, 77) else 1) for i in range(COUNT))


@pytest.mark.parametrize("codec", ["none", "lossless"])
def test_what_loses_nothing_gives_back_every_bit(codec, raw):
    payload = kvtier.encode_payload(codec, raw, SHAPE)
    assert kvtier.decode_payload(codec, payload, SHAPE) == raw


def test_lossless_is_smaller(raw):
    assert len(kvtier.encode_payload("lossless", raw, SHAPE)) < len(raw) / 1.25


@pytest.mark.parametrize("codec", sorted(BOUNDS))
def test_errors_stay_inside_their_bounds(codec, raw):
    payload = kvtier.encode_payload(codec, raw, SHAPE)
    assert len(payload) < len(raw) * 0.56
    before, after = floats(raw), floats(kvtier.decode_payload(codec, payload, SHAPE))
    largest = max(abs(value) for value in before)
    assert max(abs(a - b) for a, b in zip(before, after)) <= largest * BOUNDS[codec]
    # A channel of small numbers does not pay for a large one beside it, where keys have scales a channel.
    if codec == "int8":
        keys = range(64 * 2 * 128)
        small = [abs(before[i] - after[i]) for i in keys if i % 128 not in (3, 77)]
        assert max(small) < 0.03


@pytest.mark.parametrize("codec, shape, dtype, data", [
    ("int9", SHAPE, "bf16", bytes(COUNT * 2)),
    ("int8", SHAPE, "f32", bytes(COUNT * 2)),
    ("int8", SHAPE, "bf16", bytes(COUNT * 2 - 2)),
    ("int8", SHAPE, "bf16", b""),
    ("int8", (0, 2, 64, 2, 128), "bf16", b""),
    ("fp8", SHAPE, "bf16", b"\xc0\x7f" + bytes(COUNT * 2 - 2)),  # a NaN
])
def test_bad_input_is_an_error_that_says_what_was_found(codec, shape, dtype, data):
    with pytest.raises(kvtier.Error):
        kvtier.encode_payload(codec, data, shape, dtype)


@pytest.mark.parametrize("codec", ["int8", "lossless", "none"])
def test_a_cut_payload_is_an_error(codec, raw):
    payload = kvtier.encode_payload(codec, raw, SHAPE)
    with pytest.raises(kvtier.Error):
        kvtier.decode_payload(codec, payload[:-1], SHAPE)
