"""The whole book as one PDF: the built pages, put together into one and printed by a headless Chromium.

Chromium needs no TeX, keeps the alternative texts, and writes the headings as an outline. All hints are open; solutions
and the answers of a quiz stand at the end of their chapter. Nothing is loaded from outside: a request that leaves the
built book is an error.
"""

import re
import sys
from html import escape
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from bs4 import BeautifulSoup
from chromium import CHROMIUM, started

SITE = "http://book.invalid/"  # answered from the folder of the built book
WHOLE = f"{SITE}book/whole.html"  # beside the pages whose style sheets it takes
LATER = {"Solution": "solution", "Answers": "answers"}  # folded parts that go to the end of the chapter
READY = """async () => {
  const diagrams = document.querySelectorAll("pre.mermaid");
  if (diagrams.length) {
    const { default: mermaid } = await import("/_static/vendor/mermaid/mermaid.esm.min.mjs");
    mermaid.initialize({ startOnLoad: false });
    await mermaid.run({ nodes: diagrams });
  }
  await window.MathJax?.startup.promise;
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
  await document.fonts.ready;
}"""
NUMBERS = "(n) => document.querySelectorAll('.number').forEach((e, i) => { e.textContent = n[i] })"
STYLE = """
@page { size: A4; margin: 18mm 16mm 20mm; }
html, body { background: #fff; font-size: 10pt; }
body { display: block; padding: 0; }
article.bd-article { padding: 0 !important; break-before: page; }
nav.book { font-size: 11pt; }
nav.book h1 { font-size: 30pt; margin: 20mm 0 10mm; }
nav.book p { font-weight: 600; margin: 1em 0 .2em; break-after: avoid; }
nav.book a { display: flex; gap: 1em; justify-content: space-between; color: inherit; text-decoration: none; }
nav.book a.inner { padding-left: 2em; }
h1, h2, h3, h4, summary { break-after: avoid; }
img, svg, tr, mjx-container { break-inside: avoid; }
img { max-width: 100%; height: auto; max-height: 220mm; }
pre, code { white-space: pre-wrap !important; overflow-wrap: anywhere; }
.cell_output table { white-space: normal; }
.cell_output, details, table, .pst-scrollable-table-container { overflow: visible !important; }
summary { list-style: none; }
mjx-container path { stroke-width: 0 !important; }  /* a hair line that many viewers draw as one of a whole dot */
"""
FOOTER = '<div style="font-size: 8px; width: 100%; text-align: center"><span class="pageNumber"></span></div>'


def write(html: Path, out: Path, pages: list[str] | None = None) -> int:
    """Print the pages of a built book (all, in the order of reading) into one file; gives the number of its pages.

    Raises SystemExit when there is no Chromium, or when the book asks for something that it does not hold.
    """
    if not CHROMIUM:
        sys.exit("The PDF needs a Chromium: install one, or name it in CHROMIUM.")
    pages = pages or reading_order(html)
    text = assemble(html, pages)
    faults: list[str] = []

    def answer(route):
        url = route.request.url
        file = html / unquote(urlsplit(url).path).lstrip("/")
        if url == WHOLE:
            route.fulfill(body=text, content_type="text/html; charset=utf-8")
        elif url.startswith(SITE) and file.is_file():
            route.fulfill(path=file)
        else:
            faults.append(f"request to {url}")
            route.abort()

    with started() as browser:
        page = browser.new_page(color_scheme="light")
        page.set_default_timeout(0)  # thousands of formulas
        page.route("**/*", answer)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.emulate_media(media="print", color_scheme="light")
        page.goto(WHOLE)
        page.evaluate(READY)
        # Printed twice: the first one says on which page each chapter begins.
        numbers = beginnings(_print(page))
        page.evaluate(NUMBERS, numbers)
        data = _print(page)
    if not faults and (len(numbers) != len(pages) or beginnings(data) != numbers):
        faults.append(f"{len(pages)} chapters, which begin on the pages {numbers} and then {beginnings(data)}")
    if faults:
        sys.exit("The PDF was not written:\n  " + "\n  ".join(faults))
    out.write_bytes(data)
    return len(_pages(data))


def _print(page) -> bytes:
    return page.pdf(
        prefer_css_page_size=True, print_background=True, outline=True, tagged=True, display_header_footer=True,
        header_template="<span></span>", footer_template=FOOTER,
    )  # fmt: skip


def _pages(data: bytes) -> list[bytes]:
    """The objects of the pages, in order; Chromium does not compress them."""
    return re.findall(rb"\n(\d+) 0 obj\n<</Type /Page\n", data)


def beginnings(data: bytes) -> list[int]:
    """The page on which each of the anchors chapter-0, chapter-1 ... stands."""
    order = {number: place for place, number in enumerate(_pages(data), start=1)}
    found = re.findall(rb"/chapter-(\d+) \[(\d+) 0 R", data)
    return [order[page] for _, page in sorted(found, key=lambda pair: int(pair[0]))]


def reading_order(html: Path) -> list[str]:
    """All pages, as their buttons "next" lead through them."""
    pages = ["book/index.html"]
    while following := _soup(html, pages[-1]).find("link", rel="next"):
        pages.append(urljoin(pages[-1], following["href"]))
    return pages


def _soup(html: Path, page: str) -> BeautifulSoup:
    return BeautifulSoup((html / page).read_text(encoding="utf-8"), "html.parser")


def assemble(html: Path, pages: list[str]) -> str:
    """One HTML document of several pages, with a table of contents."""
    first = _soup(html, pages[0])
    styles = "".join(str(link) for link in first.find_all("link", rel="stylesheet"))
    listed = _side_bar(first, pages[0])
    scripts, contents, articles = {}, [], []
    for number, page in enumerate(pages):
        soup = _soup(html, page)
        article = soup.find("article", class_="bd-article")
        for script in soup.find_all("script"):
            if "MathJax =" in (script.string or "") or "mathjax" in script.get("src", ""):
                scripts[script.string or script["src"]] = str(script)
        caption, title = listed.get(page, ("", ""))
        inner = "" if title or page == pages[0] else ' class="inner"'  # what the side bar does not list
        title = article.h1.string = title or article.h1.get_text().removesuffix("#")
        contents += [f"<p>{escape(caption)}</p>"] if caption else []
        contents.append(
            f'<a href="#chapter-{number}"{inner}><span>{escape(title)}</span><span class="number">000</span></a>'
        )
        _clean(article)
        _put_later(article, soup)
        _link(article, page, pages)
        article["id"] = f"chapter-{number}"
        articles.append(str(article))
    title = escape(first.find("article").h1.get_text().removesuffix("#"))
    text = (
        f'<!doctype html><html lang="{first.html["lang"]}" data-theme="light" data-mode="light"><head>'
        f'<meta charset="utf-8"><title>{title}</title>{styles}'
        f"<style>{STYLE}</style>{''.join(scripts.values())}</head><body>"
        f'<nav class="book"><h1>{title}</h1>{"".join(contents)}</nav>{"".join(articles)}</body></html>'
    )
    return text


def _side_bar(soup: BeautifulSoup, page: str) -> dict[str, tuple[str, str]]:
    """The pages of the side bar with their names; the first below each caption with that caption."""
    found, caption = {}, ""
    for tag in soup.select("nav.bd-links p.caption, nav.bd-links li.toctree-l1 > a"):
        if tag.name == "p":
            caption = tag.get_text(strip=True)
        else:
            found[urljoin(page, tag["href"])] = caption, tag.get_text(strip=True)
            caption = ""
    return found


def _clean(article) -> None:
    """Take out what only works on a screen, and open what is folded."""
    for tag in article.select("a.headerlink, script, .toctree-wrapper, .prev-next-footer"):
        tag.decompose()
    for tag in article.select("details"):
        tag["open"] = ""
    for tag in article.select("img"):
        tag.attrs.pop("loading", None)


def _put_later(article, soup: BeautifulSoup) -> None:
    """Solutions and answers to the end of the chapter; a word stays in their place."""
    later = []
    for tag in article.find_all("details"):
        kind = tag.summary.get_text(strip=True)
        if kind not in LATER:
            continue
        heading = tag.find_previous(["h2", "h3"])
        above = heading.get_text().removesuffix("#") if heading else ""
        if kind == "Answers":
            above += f", question {sum(k == kind for k, *_ in later) + 1}"
        note = soup.new_tag("p")
        note.append(f"({kind}: at the end of this chapter.)")
        tag.replace_with(note)
        later.append((kind, above, tag))
    if later:
        section = soup.new_tag("section")
        section.append(heading := soup.new_tag("h2"))
        heading.string = "Solutions"
        for _, above, tag in later:
            tag.summary.string = above
            section.append(tag)
        article.append(section)


def _link(article, page: str, pages: list[str]) -> None:
    """Anchors get a prefix, for every page has its own; links between pages become links inside the document."""
    number = pages.index(page)
    for tag in article.find_all(id=True):
        if tag.name != "svg" and not tag.find_parent("svg"):
            tag["id"] = f"in-{number}-{tag['id']}"
    for tag in article.find_all("img", src=True):
        tag["src"] = urljoin(f"{SITE}{page}", tag["src"])
    for tag in article.find_all("a", href=True):
        target = urlsplit(urljoin(f"{SITE}{page}", tag["href"]))
        to = unquote(target.path).lstrip("/")
        if not target.geturl().startswith(SITE):
            continue
        if to not in pages:
            tag.unwrap()
        elif target.fragment:
            tag["href"] = f"#in-{pages.index(to)}-{unquote(target.fragment)}"
        else:
            tag["href"] = f"#chapter-{pages.index(to)}"
