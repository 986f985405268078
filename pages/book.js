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
  for (const formula of document.querySelectorAll("div.math"))
    formula.tabIndex = formula.scrollWidth > formula.clientWidth ? 0 : -1;
}
addEventListener("load", reachWideFormulas);
addEventListener("resize", reachWideFormulas);

// The contents of a page always mark the section that is being read: the last whose heading has passed the top
// quarter. The theme marks one only while its heading is there, and takes the mark away again.
addEventListener("DOMContentLoaded", () => {
  const links = [...document.querySelectorAll(".page-toc a[href^='#']")];
  const headings = links.map((link) => document.getElementById(decodeURIComponent(link.hash.slice(1))));
  function mark() {
    const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 2;
    const passed = headings.findLastIndex((it) => it && it.getBoundingClientRect().top < innerHeight / 4);
    const here = links[atEnd ? links.length - 1 : Math.max(passed, 0)];
    for (const link of links) { // the theme marks by a class and, where it was clicked, for who cannot see it
      if (link.classList.contains("active") !== (link === here)) link.classList.toggle("active");
      if ((link.ariaCurrent === "true") !== (link === here)) link.ariaCurrent = link === here ? "true" : null;
    }
  }
  if (!links.length) return;
  addEventListener("scroll", mark, { passive: true });
  const watched = { subtree: true, attributes: true, attributeFilter: ["class", "aria-current"] };
  new MutationObserver(mark).observe(links[0].closest(".page-toc"), watched);
  mark();
});

// Paper is white.
addEventListener("beforeprint", () => {
  const { dataset } = document.documentElement, { theme } = dataset;
  dataset.theme = "light";
  addEventListener("afterprint", () => { dataset.theme = theme; }, { once: true });
});
