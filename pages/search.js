// The search: sections of the book and entries of its glossary that hold all the words, with a line from each.
// BOOK, from sections.js, lists the pages; course/sections.py writes it.

const MOST = 60; // results that are shown
const AROUND = 90; // characters before and after the first word found

const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

const sections = BOOK.flatMap(({ page, title, sections }, order) => sections.map(([place, own, words, code], i) => ({
  href: `${page}#${encodeURIComponent(place)}`, page: title, title: i || page.startsWith("glossary") ? own : title,
  words, code, order, is: { title: plain(own), page: plain(title), words: plain(words), code: plain(code) },
})));

// How often a word begins in a text; a word within another counts a little.
function count(text, word) {
  let whole = 0, within = 0;
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length))
    /[\p{L}\p{N}]/u.test(text[at - 1] ?? " ") ? within++ : whole++;
  return whole + within / 10;
}

// All words have to be somewhere in a section; where they are says how much it is about them.
function score(section, words) {
  let sum = 0;
  for (const word of words) {
    const { title, page, words: prose, code } = section.is;
    const own = 40 * count(title, word) + Math.min(6, 2 * count(prose, word)) + Math.min(2, 0.5 * count(code, word));
    if (!own) return 0;
    sum += own + 3 * count(page, word);
    if (title === word) sum += 60;
  }
  const phrase = words.join(" ");
  if (words.length > 1) sum += 30 * count(section.is.title, phrase) + 8 * Math.min(2, count(section.is.words, phrase));
  return sum;
}

function search(query) {
  const words = plain(query).split(/\s+/).filter(Boolean);
  if (!words.length) return { words, found: [] };
  const found = sections.map((section) => [score(section, words), section]).filter(([points]) => points);
  return { words, found: found.sort(([a, x], [b, y]) => b - a || x.order - y.order).map(([, section]) => section) };
}

// Where in a text the most of the words stand together; its length if there is none.
function bestPlace(text, words) {
  const places = words.flatMap((word) => {
    const found = [];
    for (let at = text.indexOf(word); at >= 0 && found.length < 100; at = text.indexOf(word, at + word.length)) found.push(at);
    return found;
  }).sort((a, b) => a - b);
  let best = text.length, most = 0;
  for (const at of places) {
    const window = text.slice(at, at + AROUND);
    const held = words.filter((word) => window.includes(word)).length;
    if (held > most) [best, most] = [at, held];
  }
  return best;
}

// A line around the words that are found, with all of them marked.
function snippet(section, words) {
  const text = words.some((word) => plain(section.words).includes(word)) ? section.words
    : words.some((word) => plain(section.code).includes(word)) ? section.code : section.words;
  const low = plain(text).length === text.length ? plain(text) : text.toLowerCase();
  const first = bestPlace(low, words);
  const start = first < text.length && first > AROUND ? text.indexOf(" ", first - AROUND) + 1 : 0;
  const end = start + 2 * AROUND < text.length ? text.lastIndexOf(" ", Math.max(first, start) + 2 * AROUND) : text.length;
  const line = Object.assign(document.createElement("p"), { className: "context" });
  if (start) line.append("… ");
  const marks = new RegExp(words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|"), "giu");
  let at = start;
  for (const hit of text.slice(start, end).matchAll(marks)) {
    line.append(text.slice(at, start + hit.index), Object.assign(document.createElement("mark"), { textContent: hit[0] }));
    at = start + hit.index + hit[0].length;
  }
  line.append(text.slice(at, end), end < text.length ? " …" : "");
  return line;
}

function show(query) {
  const { words, found } = search(query);
  const said = Object.assign(document.createElement("p"), { className: "search-summary", role: "status" });
  const many = found.length > MOST ? `, the first ${MOST} of them here` : "";
  said.textContent = !words.length ? "" : found.length ? `${found.length} ${found.length === 1 ? "section holds" : "sections hold"} ${words.length > 1 ? "all of these words" : "this word"}${many}.`
    : `No section holds ${words.length > 1 ? "all of these words" : "this word"}.`;
  const list = Object.assign(document.createElement("ul"), { className: "search" });
  for (const section of found.slice(0, MOST)) {
    const item = document.createElement("li");
    const link = Object.assign(document.createElement("a"), { href: section.href, textContent: section.title });
    item.append(link);
    if (section.title !== section.page)
      item.append(Object.assign(document.createElement("span"), { className: "search-page", textContent: section.page }));
    item.append(snippet(section, words));
    list.append(item);
  }
  document.getElementById("search-results").replaceChildren(said, list);
}

const fields = document.querySelectorAll("input[type=search][name=q]");
const asked = new URLSearchParams(location.search).get("q") ?? "";
for (const field of fields) {
  field.value = asked;
  field.addEventListener("input", () => show(field.value));
}
show(asked);
