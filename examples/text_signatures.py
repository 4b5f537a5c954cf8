"""Classes in words: sentences in place of a table of attributes, alone and joined with it."""

# %%
from pathlib import Path

from birds import birds, line, measured, run

from zslcore.methods.eszsl import ESZSL
from zslcore.signatures.compose import Composition

SOURCES = {
    "attributes": {"attributes": 1.0},
    "sentences": {"text": 1.0},
    "both": {"attributes": 1.0, "text": 0.5},
}


# %%
def main(folder: Path, images_per_class: int = 12) -> None:
    """The same images, described three ways. In a project: `signatures:` in data/<name>.yaml."""
    data = birds(folder, images_per_class)
    print(data.classes[0], "is described so:", data.sources["text"].texts[0][0])
    for name, weights in SOURCES.items():
        _, _, figures = measured(ESZSL, data.composed(Composition(weights=weights)))
        print(line(name, figures))


# %%
if __name__ == "__main__":
    run(main)
