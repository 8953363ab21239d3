"""The console as tests look at it: opened at a view, with what must hold of every page.

Above: the tests of its pages. Below: the browser of `tests.browser`, and axe-core out of an npm package.
"""

from __future__ import annotations

from typing import Any, Final

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, expect

from tests.browser import chromium

_AXE: Final = """
async () => {
    const found = await axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] });
    return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
}
"""


class Viewer:
    """Keeps what the page says on its console and asks for."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.expected: set[str] = set()
        """Parts of what the browser may complain of, such as the status of an answer that a test provokes."""
        self.errors: list[str] = []
        self.requests: list[Request] = []
        page.on("console", self._hear)
        page.on("request", lambda request: self.requests.append(request))

    def open(self, view: str = "") -> None:
        """A view by its address, such as `runs?phase=queued`."""
        self.page.goto(f"{self.url}/console#/{view}")

    def heading(self, text: str) -> None:
        """Wait until the page with this heading is shown."""
        expect(self.page.get_by_role("heading", name=text, level=1)).to_be_visible()

    def rows(self) -> Locator:
        return self.page.locator("tbody tr")

    def accessible(self) -> None:
        """No violation of WCAG 2.1 AA, in light and in dark."""
        axe = (chromium.installed() / "node_modules" / "axe-core" / "axe.min.js").read_text()
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)  # pyright: ignore[reportArgumentType]
            self.page.evaluate(axe)
            found: list[Any] = self.page.evaluate(_AXE)
            assert found == [], (scheme, found)

    def check(self) -> None:
        """Nothing outside was asked, and nothing complained of."""
        assert [request.url for request in self.requests if not request.url.startswith((self.url, "data:"))] == []
        assert [error for error in self.errors if not any(part in error for part in self.expected)] == []

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)
