"""The tests in a browser find what they look for, on pages with one fault each."""

from __future__ import annotations

import pytest
from browser import DARK, WITHOUT_JAVASCRIPT, Chromium, barriers, chromium, expect, visit

__all__ = ["chromium"]

PAGE = """<!DOCTYPE html><html lang="en" data-bs-theme="light"><title>Page</title>
<style>html[data-bs-theme=dark] {{ background: black; color: #555 }} img {{ width: 40px; height: 40px }}
.tiny {{ all: unset; width: 9px; height: 9px; display: inline-block }}
.tiny:focus {{ outline: 2px solid gray }} .pale:focus {{ outline: 2px solid #eee }}</style>
<main class="research"><h1>Page</h1>{ours}</main>{theirs}</html>"""


TINY = "<button class='tiny' aria-label='{}'></button>"
WITH_AXE = {"dark-1280", "light-forced-colors-1280", "light-320", "light-1280"}
EVERYWHERE = {*WITH_AXE, "light-640"}
WITH_KEYBOARD = {"dark-1280", "light-forced-colors-1280", "light-640"}
COVERS = "position: fixed; inset: 0; background: currentcolor"


@pytest.mark.parametrize(
    ("ours", "fault", "looks"),
    [
        ("<p>read me</p>", "color-contrast", {"dark-1280"}),
        ("<img src='data:,'>", "image-alt", WITH_AXE),
        ("<h4>skipped</h4>", "heading-order", WITH_AXE),
        (TINY.format("a") + TINY.format("b"), "target-size", WITH_AXE),
        ("<p style='width: 500px'>wide</p>", "must be scrolled horizontally", {"light-320"}),
        ("<p style='width: 3em; overflow: hidden; white-space: nowrap'>is cut off</p>", "clipped", EVERYWHERE),
        ("<p style='margin-left: -3em'>begins beside the window</p>", "clipped", EVERYWHERE),
        ("<button style='outline: none'>Start</button>", "focus", WITH_KEYBOARD),
        ("<button class='pale'>Start</button>", "focus", {"light-640"}),
        (f"<button>Start</button><div style='{COVERS}'></div>", "focus", WITH_KEYBOARD),
        ("<p style='transition: color 1s'>moves</p>", "moves", {"light-1280"}),
        (
            "<style>p::before { animation: 1s infinite turn; content: '' }</style><p>moves</p>",
            "moves",
            {"light-1280"},
        ),
    ],
)
async def test_barriers_are_found(chromium: Chromium, ours: str, fault: str, looks: set[str]) -> None:
    async with visit(chromium, "about:blank") as page:
        await page.set_content(PAGE.format(ours=ours, theirs=""))
        found = [barrier.split(": ") for barrier in await barriers(page)]
        assert {look for look, rule, *_ in found if rule == fault} == looks
        # The dark colours of PAGE are a fault of every page here.
        assert {rule for _, rule, *_ in found} == {fault, "color-contrast"}


async def test_barriers_in_the_parts_of_jupyterhub_are_not_ours(chromium: Chromium) -> None:
    async with visit(chromium, "about:blank") as page:
        await page.set_content(PAGE.format(ours="", theirs="<p><img src='data:,'></p>"))
        assert "image-alt" not in str(await barriers(page))
        assert "image-alt" in str(await barriers(page, "html"))


async def test_a_page_without_our_part_is_not_without_barriers(chromium: Chromium) -> None:
    async with visit(chromium, "about:blank") as page:
        await page.set_content("<html lang=en><title>Page</title><main><h1>Page</h1></main></html>")
        assert "no element matches main.research" in str(await barriers(page))


async def test_a_visit_fails_if_a_script_fails_or_breaks_the_policy(chromium: Chromium) -> None:
    policy = "<meta http-equiv='Content-Security-Policy' content=\"script-src 'none'\">"
    for content, problem in (
        ("<p>1</p><script>throw new Error('broken')</script>", "broken"),
        (f"{policy}<p>1</p><script>1</script>", "script-src-elem"),
    ):
        with pytest.raises(AssertionError, match=problem):
            async with visit(chromium, "about:blank") as page:
                await page.goto(f"data:text/html,{content}")
                await expect(page.get_by_text("1")).to_be_visible()


async def test_the_look_is_that_of_the_user(chromium: Chromium) -> None:
    async with visit(chromium, "about:blank", DARK) as page:
        assert await page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    async with visit(chromium, "about:blank", WITHOUT_JAVASCRIPT) as page:
        await page.set_content("<noscript>without</noscript>")
        await expect(page.get_by_text("without")).to_be_visible()
