"""Settings of the extraction; importable without torch."""

from typing import Literal

from pydantic import Field

from zslcore.settings import Section


class ExtractSettings(Section):
    """Images to features."""

    backbone: str = Field("resnet101.tv_in1k", description="any timm model; vgg19 gives fc7")
    weights: str = Field("pretrained", description="pretrained, random, or file:PATH")
    image_size: int | None = Field(None, ge=1, description="side of the network's input, pixels; null: its own")
    batch_size: int | None = Field(None, ge=1, description="images; null: sized to memory")
    precision: Literal["fp32", "bf16", "fp16", "auto"] = Field(
        "auto",
        description="arithmetic of the network; auto: 16 bits where fast and in agreement with 32",
    )
    compile: Literal["always", "never", "auto"] = Field("auto", description="torch.compile; auto: where it pays")
    workers: int | None = Field(None, ge=1, description="decoding threads; null: one a core")
    on_bad_image: Literal["fail", "skip"] = Field("fail", description="what to do with unreadable images")
