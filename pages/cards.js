// A link to the glossary or to a reference shows the entry as a card, on hover and on focus; Escape puts it away.
// The entries are <template data-card="PAGE.html#PLACE"> elements at the end of the page (course/glossary.py).

const card = Object.assign(document.createElement("div"), { id: "card", className: "card-of-entry", hidden: true });
card.role = "tooltip";

function entryOf(link) {
  const place = link.getAttribute("href").replace(/^(\.\.\/)*/, "");
  return document.querySelector(`template[data-card="${CSS.escape(place)}"]`);
}

function show(link) {
  card.replaceChildren(entryOf(link).content.cloneNode(true));
  for (const inner of card.querySelectorAll("a")) inner.replaceWith(...inner.childNodes);
  card.hidden = false;
  link.setAttribute("aria-describedby", card.id);
  const at = link.getBoundingClientRect(), room = document.documentElement.clientWidth;
  card.style.left = `${scrollX + Math.max(8, Math.min(at.left, room - card.offsetWidth - 8))}px`;
  const above = at.bottom + card.offsetHeight + 8 > innerHeight && at.top > card.offsetHeight + 8;
  card.style.top = `${scrollY + (above ? at.top - card.offsetHeight - 6 : at.bottom + 6)}px`;
}

function hide() {
  card.hidden = true;
  document.querySelector("[aria-describedby=card]")?.removeAttribute("aria-describedby");
}

document.body.append(card);
for (const link of document.querySelectorAll("article a[href*='glossary.html#'], article a[href*='references.html#']")) {
  if (!entryOf(link)) continue;
  let waiting;
  link.addEventListener("mouseenter", () => { waiting = setTimeout(() => show(link), 150); });
  link.addEventListener("mouseleave", () => { clearTimeout(waiting); hide(); });
  link.addEventListener("focus", () => show(link));
  link.addEventListener("blur", hide);
}
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
