"""A real Chromium: `from browser import running_chromium`.  Playwright drives the distribution's and downloads none."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytest
import pytest_asyncio
from patience import PATIENCE_SECONDS
from playwright.async_api import Browser as Chromium
from playwright.async_api import ConsoleMessage, Locator, Page, WebError, async_playwright, expect

TREE = Path(__file__).parents[1]
# As the Makefile installs it.
AXE = TREE / "node_modules" / ".axe" / "node_modules" / "axe-core" / "axe.min.js"
IMAGES = TREE / "docs" / "images"
# WCAG 2.2 AA, and axe's own rules: one h1, landmarks, the order of headings.
AXE_TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
# Our part of a hub's page; the rest is JupyterHub's.
OURS = "main.research"
_VIOLATION = "This page violates its Content-Security-Policy:"

# An assertion of Playwright waits until it is true, as `eventually` does.
expect.set_options(timeout=PATIENCE_SECONDS * 1000)


@dataclass(frozen=True)
class Look:
    """How a user looks at pages: size of the window in pixels, colours, with or without JavaScript, time zone."""

    width: int = 1280
    height: int = 800
    theme: Literal["light", "dark"] = "light"
    has_forced_colors: bool = False
    has_javascript: bool = True
    time_zone: str = "UTC"

    def __str__(self) -> str:
        more = "-forced-colors" if self.has_forced_colors else ""
        return f"{self.theme}{more}-{self.width}{'' if self.has_javascript else '-without-javascript'}"


DESKTOP = Look()
DARK = Look(theme="dark")
PHONE = Look(width=390)
# WCAG 2.2, 1.4.10: also what is left of 1280 pixels at 400 %.
NARROW = Look(width=320)
# WCAG 2.2, 1.4.4: what is left of 1280 to 800 pixels at 200 %.
ZOOMED = Look(width=640, height=400)
FORCED_COLORS = Look(has_forced_colors=True)
WITHOUT_JAVASCRIPT = Look(has_javascript=False)


def missing(what: str) -> NoReturn:
    """Skip the test, because `what` is not installed.  With CI=true it fails."""
    reason = f"{what} is not installed"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextlib.asynccontextmanager
async def running_chromium() -> AsyncIterator[Chromium]:
    """Run a Chromium without a window."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        missing("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program,
            # The sandbox is not available to root, and /dev/shm is small in containers.
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"],
        )
        try:
            yield browser
        finally:
            await browser.close()


@pytest_asyncio.fixture
async def chromium() -> AsyncIterator[Chromium]:
    """A Chromium of the test's own."""
    async with running_chromium() as started:
        yield started


@contextlib.asynccontextmanager
async def visit(chromium: Chromium, url: str, look: Look = DESKTOP, *, bypass_csp: bool = False) -> AsyncIterator[Page]:
    """Open a tab, in a session with cookies of its own, in which paths are relative to `url`.

    Fails at its end if a script of a page threw an exception, or a page violated its Content-Security-Policy.

    bypass_csp: ignore the policies of pages, because axe adds styles to a page, which a strict policy does not allow.
    """
    context = await chromium.new_context(
        base_url=url,
        viewport={"width": look.width, "height": look.height},
        color_scheme=look.theme,
        forced_colors="active" if look.has_forced_colors else "none",
        reduced_motion="reduce",
        java_script_enabled=look.has_javascript,
        bypass_csp=bypass_csp,
        locale="en-GB",
        timezone_id=look.time_zone,
    )
    context.set_default_timeout(PATIENCE_SECONDS * 1000)
    await context.add_init_script(
        # An address without an origin, such as about:blank, has no storage.
        f"try {{ localStorage.setItem('jupyterhub-bs-theme', {json.dumps(look.theme)}) }} catch {{}}\n"
        "document.addEventListener('securitypolicyviolation', event => console.error("
        f"{json.dumps(_VIOLATION)}, event.violatedDirective, event.blockedURI, event.sourceFile, event.lineNumber))"
    )
    problems: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.text.startswith(_VIOLATION):
            problems.append(f"{message.text} ({message.location['url']})")

    def catch(error: WebError) -> None:
        problems.append(f"{error.page.url if error.page else '?'}: {error.error}")

    context.on("console", hear)
    context.on("weberror", catch)
    try:
        yield await context.new_page()
    finally:
        await context.close()
    assert problems == [], problems


async def log_in(page: Page, name: str, password: str = "", then: str = "/hub/home") -> None:
    """Log in at the hub, and open the path `then` of it."""
    await page.goto(f"/hub/login?next={then}")
    await page.get_by_label("Username").fill(name)
    await page.locator("#password_input").fill(password)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(lambda url: "/hub/login" not in url, wait_until="domcontentloaded")


async def axe(page: Page, ours: str = OURS) -> list[str]:
    """Return what is not accessible in the elements that match the selector `ours`, and in the page as a whole.

    The page must have such an element.  Needs JavaScript.
    """
    if not AXE.exists():
        missing(f"{AXE} (make test installs it)")
    # By the debugger's protocol, because a page's Content-Security-Policy does not allow it to scripts.
    protocol = await page.context.new_cdp_session(page)
    await _evaluate(protocol, AXE.read_text())
    found: list[str] = await _evaluate(
        protocol,
        f"""(async () => {{
            const ours = [...document.querySelectorAll({json.dumps(ours)})];
            if (!ours.length) return ["no element matches {ours}"];
            const isOurs = element => element === document.documentElement || ours.some(one => one.contains(element));
            const run = await axe.run({{runOnly: {json.dumps(AXE_TAGS)}, resultTypes: ["violations"], preload: false}});
            return run.violations.flatMap(rule => rule.nodes
                .filter(node => isOurs(document.querySelector(node.target[0])))
                .map(node => `${{rule.id}}: ${{node.html}}: ${{node.failureSummary}}`));
        }})()""",
    )
    await protocol.detach()
    return found


async def _evaluate(protocol: Any, expression: str) -> Any:
    found = await protocol.send(
        "Runtime.evaluate", {"expression": expression, "awaitPromise": True, "returnByValue": True}
    )
    assert "exceptionDetails" not in found, found["exceptionDetails"]
    return found["result"].get("value")


async def change_look(page: Page, look: Look) -> None:
    """Show the page that is open in another width and in other colours, as its user can at any time."""
    await page.set_viewport_size({"width": look.width, "height": look.height})
    await page.emulate_media(color_scheme=look.theme, forced_colors="active" if look.has_forced_colors else "none")
    # As the button of JupyterHub's pages does (share/jupyterhub/static/js/darkmode.js).
    await page.evaluate("theme => document.documentElement.setAttribute('data-bs-theme', theme)", look.theme)


async def is_too_wide(page: Page) -> bool:
    """Return whether the page must be scrolled horizontally."""
    return bool(await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


async def barriers(page: Page, ours: str = OURS) -> list[str]:
    """Return what is not accessible in light, dark and forced colours, on 320 pixels, at 200 %, and by keyboard.

    The page keeps its state, but not its focus. It has the look DESKTOP afterwards.
    """
    found = []
    for look in (DARK, FORCED_COLORS, NARROW, ZOOMED, DESKTOP):
        await change_look(page, look)
        barriers_of_look = await axe(page, ours) if look is not ZOOMED else []
        if await is_too_wide(page):
            barriers_of_look.append("must be scrolled horizontally")
        barriers_of_look += await page.evaluate(_CLIPPED, ours)
        if look in (DARK, FORCED_COLORS, ZOOMED):
            barriers_of_look += await focus_barriers(page, ours)
        found += [f"{look}: {barrier}" for barrier in barriers_of_look]
    return [*found, *(f"{DESKTOP}: {barrier}" for barrier in await page.evaluate(_MOVING, ours))]


# Text of which a part cannot be seen: in boxes that cut it off, and beside the window.
_CLIPPED = """ours => [...document.querySelectorAll(`:is(${ours}) *`)].filter(element => {
    if (!element.checkVisibility()) return false;
    if (element.closest("[class*=visually-hidden], svg, input, select, meter")) return false;
    const style = getComputedStyle(element), cuts = overflow => overflow === "hidden" || overflow === "clip";
    if (cuts(style.overflowX) && element.scrollWidth > element.clientWidth + 1) return true;
    if (cuts(style.overflowY) && element.scrollHeight > element.clientHeight + 1) return true;
    const scrolls = one => ["auto", "scroll"].includes(getComputedStyle(one).overflowX);
    for (let one = element.parentElement; one; one = one.parentElement) if (scrolls(one)) return false;
    const box = element.getBoundingClientRect();
    const root = document.documentElement, isCut = root.scrollWidth <= root.clientWidth && box.right > innerWidth + 1;
    return box.width > 0 && (box.left < -1 || isCut);
}).map(element => `clipped: ${element.outerHTML.slice(0, 300)}`)"""

# What moves although the user wants no motion.
_MOVING = """ours => {
    const styles = [...document.querySelectorAll(`html, :is(${ours}), :is(${ours}) *`)].flatMap(
        element => ["", "::before", "::after"].map(part => [element, getComputedStyle(element, part || null)]));
    const moves = style => style.animationName !== "none" || style.scrollBehavior === "smooth"
        || style.transitionDuration.split(",").some(duration => parseFloat(duration) > 0);
    return styles.filter(([_, style]) => moves(style)).map(([element]) => `moves: ${element.outerHTML.slice(0, 300)}`)
        .concat(document.getAnimations().map(one => `moves: ${one.effect.target.outerHTML.slice(0, 300)}`));
}"""

# Takes the focus from the page, and keeps what each element looks like without it.
_UNFOCUS = """ours => {
    document.activeElement?.blur();
    scrollTo(0, 0);
    window.outlineOf = one => {
        const style = getComputedStyle(one), width = style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth);
        return width > 0 ? `${style.outlineStyle} ${width} ${style.outlineColor}` : "";
    };
    window.unfocused = new Map([...document.querySelectorAll(`:is(${ours}), :is(${ours}) *`)].map(
        one => [one, window.outlineOf(one)]));
}"""

# Where the focus is, and why a user without a mouse would not see that (WCAG 2.2, 1.4.11, 2.4.7 and 2.4.11).
_FOCUS = """ours => {
    const element = document.activeElement;
    if (!element || element === document.body || element === document.documentElement) return null;
    const place = [...document.querySelectorAll("*")].indexOf(element), problems = [];
    if (!element.closest(ours)) return { place, problems };

    const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = color => {
        pixel.clearRect(0, 0, 1, 1);
        pixel.fillStyle = color;
        pixel.fillRect(0, 0, 1, 1);
        return [...pixel.getImageData(0, 0, 1, 1).data];
    };
    const linear = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) =>
        0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const contrast = (one, other) => {
        const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
    const background = one => {
        for (; one; one = one.parentElement) {
            const color = rgba(getComputedStyle(one).backgroundColor);
            if (color[3] > 127) return color;
        }
        return [255, 255, 255, 255];
    };
    const shows = one => ![ "", window.unfocused.get(one)].includes(window.outlineOf(one));
    let outlined = element;
    while (outlined?.closest(ours) && !shows(outlined)) outlined = outlined.parentElement;
    if (!outlined?.closest(ours)) problems.push("no outline shows that it has the focus");
    else {
        const seen = contrast(rgba(getComputedStyle(outlined).outlineColor), background(outlined.parentElement));
        if (seen < 3) problems.push(`its outline has a contrast of ${seen.toFixed(1)}:1`);
    }

    const hits = box => [0.1, 0.5, 0.9].some(x => [0.1, 0.5, 0.9].some(y => {
        const [left, right] = [Math.max(box.left, 0), Math.min(box.right, innerWidth)];
        const [top, bottom] = [Math.max(box.top, 0), Math.min(box.bottom, innerHeight)];
        const found = document.elementFromPoint(left + x * (right - left), top + y * (bottom - top));
        return right > left && bottom > top && found && (element.contains(found) || found.contains(element));
    }));
    if (![...element.getClientRects()].some(hits)) problems.push("it is outside of the window or covered");
    return { place, problems: problems.map(problem => `focus: ${element.outerHTML.slice(0, 300)}: ${problem}`) };
}"""
_MOST_STOPS = 500


async def focus_barriers(page: Page, ours: str = OURS) -> list[str]:
    """Press Tab until all of the page has had the focus, and return what does not show that it has it.

    The focus is nowhere afterwards.
    """
    found: list[str] = []
    seen: set[int] = set()
    leaves = 0
    await page.evaluate(_UNFOCUS, ours)
    while leaves < 2:
        await page.keyboard.press("Tab")
        stop = await page.evaluate(_FOCUS, ours)
        if stop is None:  # after the last one, the focus leaves the page
            leaves += 1
        elif stop["place"] in seen:
            break
        else:
            seen.add(stop["place"])
            found += stop["problems"]
    await page.evaluate(_UNFOCUS, ours)
    return found


async def tab_to(page: Page, wanted: Locator, key: str = "Tab") -> None:
    """Press a key until an element has the focus, as a user without a mouse does."""
    for _ in range(_MOST_STOPS):
        await page.keyboard.press(key)
        if await wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{key} does not lead to {wanted}")


class Screenshots:
    """The pictures that README and docs show.  They are only taken with pytest's option --update-screenshots."""

    def __init__(self, *, update: bool) -> None:
        self._update = update

    async def take(self, page: Page, name: str) -> None:
        if self._update:
            IMAGES.mkdir(exist_ok=True)
            await page.screenshot(path=IMAGES / f"{name}.png", animations="disabled")


@pytest.fixture
def screenshots(request: pytest.FixtureRequest) -> Screenshots:
    return Screenshots(update=bool(request.config.getoption("--update-screenshots")))
