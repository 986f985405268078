// What the theme leaves undone, most of it on a page that was opened from the disk.

// The theme takes an empty mode for a fault and says so in the console.
document.documentElement.dataset.mode ||= "auto";

// The search fetches every page that it found to quote from it; a browser forbids that for file:.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// The arrows that unfold the sidebar's chapters have no name that could be read out.
addEventListener("DOMContentLoaded", () => {
  for (const arrow of document.querySelectorAll(".bd-sidebar-primary summary"))
    arrow.ariaLabel = `Pages of ${arrow.closest("li").querySelector("a").textContent}`;
});

// A formula wider than the page scrolls by itself: let the keyboard reach it.
function reachWideFormulas() {
  for (const formula of document.querySelectorAll('mjx-container[display="true"]'))
    formula.tabIndex = formula.scrollWidth > formula.clientWidth ? 0 : -1;
}
addEventListener("load", () => window.MathJax?.startup.promise.then(reachWideFormulas));
addEventListener("resize", reachWideFormulas);

// Paper is white.
addEventListener("beforeprint", () => {
  const { dataset } = document.documentElement, { theme } = dataset;
  dataset.theme = "light";
  addEventListener("afterprint", () => { dataset.theme = theme; }, { once: true });
});
