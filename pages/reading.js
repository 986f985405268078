// Where a reader is and has been: minutes read of minutes, and ticks in the contents, which only this browser knows.

addEventListener("DOMContentLoaded", () => {
  const article = document.querySelector("article.bd-article");
  const root = new URL(document.documentElement.dataset.content_root ?? "./", location.href);
  const nameOf = (address) => decodeURIComponent(new URL(address, location.href).pathname)
    .slice(decodeURIComponent(root.pathname).length).replace(/\.html$/, "");
  const here = nameOf(location.href);
  const kind = here.split("/")[0]; // "chapters", "exercises", ...
  if (!article) return;

  showTicks();
  addEventListener("storage", showTicks);
  if (kind === "chapters" || kind === "exercises") offerTick();
  const minutes = article.textContent.match(/Reading(?: all)?: (an hour|\d+ minutes)/)?.[1];
  if (minutes && kind === "chapters") showMinutes(minutes === "an hour" ? 60 : parseInt(minutes));

  function ticks() {
    try {
      const kept = JSON.parse(localStorage.getItem("attention-twice:ticks"));
      return new Set(Array.isArray(kept) ? kept : []);
    } catch {
      return new Set();
    }
  }

  function tick(page, on) {
    const all = ticks();
    on ? all.add(page) : all.delete(page);
    try {
      localStorage.setItem("attention-twice:ticks", JSON.stringify([...all]));
    } catch {} // it is full, or forbidden: then nothing is kept
    showTicks();
  }

  function showTicks() {
    const all = ticks();
    for (const link of document.querySelectorAll(".bd-sidebar-primary .bd-links a.internal")) {
      const page = nameOf(link.href), shown = link.querySelector(".tick-mark");
      if (!all.has(page)) shown?.remove();
      else if (!shown) {
        const mark = Object.assign(document.createElement("span"), { className: "tick-mark", textContent: "✓", role: "img" });
        mark.ariaLabel = page.startsWith("exercises/") ? "solved" : "read";
        link.append(mark);
      }
    }
    const box = article.querySelector(".tick input");
    if (box) box.checked = all.has(here);
  }

  // A sheet is solved in a notebook, of which a page knows nothing: its reader says so. A chapter is read at its end.
  function offerTick() {
    const offer = Object.assign(document.createElement("p"), { className: "tick" });
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: ticks().has(here) });
    label.append(box, kind === "exercises" ? " I have solved this sheet." : " Read to the end.");
    offer.append(label, " The tick in the contents is kept in this browser, and nowhere else.");
    article.append(offer);
    box.addEventListener("change", () => { seen.disconnect(); tick(here, box.checked); });
    const seen = new IntersectionObserver(([entry]) => {
      if (!entry.isIntersecting || !scrollY) return;
      seen.disconnect();
      tick(here, true);
    });
    if (kind === "chapters") seen.observe(offer);
  }

  // Minutes go by words, not by the height of figures. The line that one reads goes down the window as one goes down the page.
  function showMinutes(total) {
    const sections = [...article.querySelectorAll(":scope > section > section")];
    const words = sections.map((it) => it.textContent.split(/\s+/).length);
    const before = article.textContent.split(/\s+/).length - words.reduce((a, b) => a + b, 0);
    const shown = Object.assign(document.createElement("span"), { className: "reading-minutes", title: "minutes of reading, of those that the chapter takes" });
    document.querySelector(".header-article-items__end .article-header-buttons")?.prepend(shown);
    function update() {
      const way = document.documentElement.scrollHeight - innerHeight;
      const line = way > 0 ? innerHeight * Math.min(1, scrollY / way) : innerHeight;
      const part = ({ top, height }) => Math.min(1, Math.max(0, (line - top) / height));
      const whole = article.getBoundingClientRect();
      const first = sections.length ? sections[0].getBoundingClientRect().top - whole.top : whole.height;
      let read = before * part({ top: whole.top, height: first });
      sections.forEach((it, i) => { read += words[i] * part(it.getBoundingClientRect()); });
      const all = before + words.reduce((a, b) => a + b, 0);
      shown.textContent = `${Math.round(total * read / all)} of ${total} min`;
    }
    addEventListener("scroll", update, { passive: true });
    addEventListener("resize", update);
    update();
  }
});
