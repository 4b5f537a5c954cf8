"""Images as they come: every readable kind becomes RGB, every unreadable one says why."""

import io
import math
import struct
import zlib

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from zslcore.datasets.image_files import MAX_PIXELS, MAX_PIXELS_OF, BadImage
from zslcore.features.images import MAX_RESIZED, NoMemory, decode, transform


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def scene() -> Image.Image:
    """A smooth picture, red at the left, green at the top, so that turns and colours show."""
    y, x = np.mgrid[0:48, 0:64]
    return Image.fromarray(np.stack([255 - 4 * x, 255 - 5 * y, 2 * x], axis=-1).astype(np.uint8))


def near(found: Image.Image, expected: Image.Image, tolerance: float) -> bool:
    difference = np.abs(np.asarray(found).astype(int) - np.asarray(expected).astype(int))
    return found.size == expected.size and float(difference.mean()) < tolerance


def test_lossless_rgb_is_unchanged(scene):
    assert near(decode(encode(scene, "PNG")), scene, 1e-9)


def test_greyscale_has_three_equal_channels(scene):
    found = np.asarray(decode(encode(scene.convert("L"), "PNG")))
    assert (found == np.asarray(scene.convert("L"))[:, :, None]).all()


def test_cmyk_jpeg_keeps_its_colours(scene):
    assert near(decode(encode(scene.convert("CMYK"), "JPEG", quality=95)), scene, 6)


def test_sixteen_bits_are_scaled_not_clipped(scene):
    values = np.asarray(scene.convert("L")).astype(np.uint16) * 257
    found = np.asarray(decode(encode(Image.fromarray(values), "PNG")))[:, :, 0]
    assert (found == np.asarray(scene.convert("L"))).all()


def test_sixteen_bits_in_the_other_order_of_bytes_are_scaled_too(scene):
    values = np.asarray(scene.convert("L")).astype(">u2") * 257
    image = Image.frombytes("I;16B", scene.size, values.astype(">u2").tobytes())
    assert (np.asarray(decode(encode(image, "TIFF")))[:, :, 0] == np.asarray(scene.convert("L"))).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_first_frame_of_an_animation(scene, kind):
    other = Image.new("RGB", scene.size, "black")
    content = encode(scene, kind, save_all=True, append_images=[other], duration=50)
    assert near(decode(content), scene, 12)


@pytest.mark.parametrize(("orientation", "back"), [(3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_90)])
def test_exif_rotation_is_undone(scene, orientation, back):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(scene.transpose(back), "JPEG", quality=95, exif=exif)
    assert near(decode(content), scene, 4)


def bomb() -> bytes:
    """A PNG of a few bytes that claims 50,000 x 50,000 pixels."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"0")]
    parts = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_unreadable_images_say_why(scene, within_limits):
    jpeg, png = encode(scene, "JPEG"), encode(scene, "PNG")
    corrupt = bytearray(png)
    corrupt[60] ^= 0xFF
    cases = {
        b"": "0 bytes",
        b"hello": "not an image",
        jpeg[: len(jpeg) // 2]: "truncated",
        jpeg[:20]: "not an image|truncated",
        png[: len(png) // 2]: "truncated",
        bytes(corrupt): "damaged",
        bomb(): "pixels",
    }
    for content, reason in cases.items():
        with within_limits(slack=2**25), pytest.raises(BadImage, match=reason):
            decode(content)


@pytest.mark.parametrize("kind", ["AVIF", "BLP", "DDS"])
def test_whatever_a_reader_raises_is_the_images_fault(scene, kind):
    content = encode(scene.convert("P") if kind == "BLP" else scene, kind)
    reasons = set()
    for place in range(4, 200):
        damaged = content[:place] + b"\0" + content[place + 1 :]
        try:
            decode(damaged)
        except BadImage as error:
            reasons.add(type(error.__cause__))
    assert any(issubclass(reason, RuntimeError) for reason in reasons), "nothing is shown"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_honest_picture_over_the_limit_is_refused():
    with pytest.raises(BadImage, match="scale it down"):
        decode(encode(Image.new("1", (12_000, 9_000)), "PNG"))


@pytest.mark.parametrize(
    ("mode", "kind", "bytes_a_pixel"),
    [
        ("RGB", "PNG", 6), ("RGB", "JPEG", 6), ("RGBA", "PNG", 9), ("CMYK", "TIFF", 9), ("I;16", "PNG", 9),
        ("RGB", "WEBP", 16), ("RGB", "JPEG2000", 21), ("RGBA", "AVIF", 12),
    ],
)  # fmt: skip
def test_memory_follows_the_decoded_size(mode, kind, bytes_a_pixel, within_limits):
    """At the most pixels that are allowed, so many bytes are less than twice the decoded size and 300 MiB."""
    content = encode(Image.new(mode, (4096, 4096)), kind)
    with within_limits(slack=bytes_a_pixel * 4096**2 + 2**24):
        decode(content)
    most = MAX_PIXELS_OF.get(kind, MAX_PIXELS)
    assert bytes_a_pixel * most < 2 * 3 * most + 300 * 2**20


def test_kinds_that_are_held_several_times_may_be_less_large(monkeypatch):
    monkeypatch.setitem(MAX_PIXELS_OF, "WEBP", 50)
    picture = Image.new("RGB", (10, 10))
    assert decode(encode(picture, "PNG")).size == (10, 10)
    with pytest.raises(BadImage, match="10x10 pixels, more than 50"):
        decode(encode(picture, "WEBP"))


@pytest.mark.parametrize("error", [MemoryError(), OSError("out of memory error when reading image file")])
def test_want_of_memory_is_not_the_images_fault(scene, monkeypatch, error):
    def full(image, *arguments):
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", full)
    with pytest.raises(NoMemory, match="run again"):
        decode(encode(scene, "PNG"))


def test_no_program_is_run(scene, monkeypatch):
    """Encapsulated PostScript is one; Ghostscript would run it."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *arguments, **options: pytest.fail("was run"))
    with pytest.raises(BadImage, match="not an image"):
        decode(encode(scene, "EPS"))


def test_one_line_of_pixels_does_not_fill_the_memory(within_limits):
    config = resolve_data_config({}, model=timm.create_model("test_resnet.r160_in1k"))
    with within_limits(slack=300 * 2**20), pytest.raises(BadImage, match="60000x1 pixels: too narrow"):
        transform(config)(encode(Image.new("RGB", (60_000, 1)), "PNG"))
    side = math.ceil(160 / config["crop_pct"])
    longest = MAX_RESIZED // side**2
    with within_limits(slack=300 * 2**20):
        assert transform(config)(encode(Image.new("RGB", (1, longest)), "PNG")).shape == (160, 160, 3)


def test_transform_is_timms_own():
    config = resolve_data_config({}, model=timm.create_model("test_resnet.r160_in1k"))
    picture = Image.effect_noise((200, 300), 60).convert("RGB")
    pixels = transform(config)(encode(picture, "PNG"))
    normalised = (torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255 - 0.5) / 0.5
    assert torch.allclose(normalised, create_transform(**config)(picture), atol=1e-6)


def test_large_jpegs_are_decoded_small_and_stay_close():
    config = resolve_data_config({}, model=timm.create_model("test_resnet.r160_in1k"))
    y, x = np.mgrid[0:1400, 0:2000] / 1000
    waves = np.stack([np.sin(9 * x * y), np.cos(7 * x), np.sin(20 * y + x)], axis=-1)
    picture = Image.fromarray((127 + 120 * waves).astype(np.uint8))
    content = encode(picture, "JPEG", quality=95)
    assert decode(content, 400).size == (1000, 700)
    expected = create_transform(**config, normalize=False)(Image.open(io.BytesIO(content))).permute(1, 2, 0).numpy()
    assert np.abs(transform(config, jpeg_downscaled=True)(content).astype(float) - expected).mean() < 1
