"""The HTML page around the report's body: style inside it, no script, nothing loaded from elsewhere."""

from zslcore.report.blocks import Block, Heading, anchor, escaped, to_html

STYLE = """
:root { color-scheme: light; --ink: #1d2733; --soft: #5b6b7c; --line: #dde3ea; --mark: #eef5fb; --accent: #1f6f9f; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #f6f8fa; font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1rem 2rem 4rem; background: #fff; }
nav { max-width: 76rem; margin: 0 auto; padding: .8rem 2rem; font-size: .9rem; color: var(--soft); }
nav a { color: var(--accent); text-decoration: none; margin-right: 1.2rem; }
h1 { font-size: 1.9rem; margin: 1.2rem 0 .4rem; }
h2 { font-size: 1.45rem; margin: 3rem 0 .6rem; padding-top: .8rem; border-top: 3px solid var(--accent); }
h3 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { max-width: 48rem; margin: .5rem 0; }
p.caption, figcaption, summary { color: var(--soft); font-size: .9rem; }
p.warning { border-left: 4px solid #c8641b; background: #fdf3ea; padding: .6rem 1rem; }
.scroll { overflow-x: auto; margin: .4rem 0 1rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: .4rem; }
th, td:first-child { white-space: normal; }
th { vertical-align: bottom; }
td:first-child { min-width: 11rem; }
th { color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); }
tr.strong td { background: var(--mark); font-weight: 600; }
figure { margin: 1rem 1.5rem .5rem 0; display: inline-block; vertical-align: top; }
img { max-width: 100%; height: auto; display: block; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--accent); }
@media (max-width: 40rem) {
main, nav { padding-left: 1rem; padding-right: 1rem; } th, td { padding: .3rem .35rem; }
td:first-child { min-width: 6rem; } td:nth-child(2) { white-space: normal; } }
@media print { body { background: #fff; } nav { display: none; } }
"""


def page(title: str, blocks: list[Block]) -> str:
    """The whole page, a link to each data set on top."""
    names = [block.text for block in blocks if isinstance(block, Heading) and block.level == 2]
    links = "".join(f'<a href="#{anchor(name)}">{escaped(name)}</a>' for name in names)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escaped(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{STYLE}</style>\n</head>\n<body>\n'
        f"<nav>{links}</nav>\n<main>\n{to_html(blocks)}\n</main>\n</body>\n</html>\n"
    )
