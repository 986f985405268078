// The lookup: a dict and its soft twin, asked for the same key.
//
// Every word gets a vector: a channel for each pair of neighboring letters, where beginning and end
// count as letters, and length 1. So the score q·k is a cosine: 1 for the same word, 0 if no pair is shared.

"use strict";

{
  const START = {  // chapter 04's dict and its question
    entries: [["cherry", "#ff0000"], ["lemon", "#ffff00"], ["plum", "#0000ff"]], q: "lemons", T: 1,
  };
  const AGAIN = ["lemon", "#008000"];  // what the form offers to store
  const MOST = 8, LONGEST = 40;        // entries, and letters of a key
  const COLDEST = 0.01, HOTTEST = 100;

  const { make } = Live;

  // --- the mathematics -----------------------------------------------------------------------------------

  // How often each pair of letters is in a word; its ends are line breaks, which nobody can type here.
  function pairs(word) {
    const letters = ["\n", ...word, "\n"], counts = {};
    for (let i = 1; i < letters.length; i++) {
      const pair = letters[i - 1] + letters[i];
      counts[pair] = (counts[pair] ?? 0) + 1;
    }
    return counts;
  }
  const dot = (a, b) => Object.keys(a).reduce((sum, pair) => sum + a[pair] * (b[pair] ?? 0), 0);
  function score(query, key) {
    const q = pairs(query), k = pairs(key);
    return dot(q, k) / Math.sqrt(dot(q, q) * dot(k, k));
  }

  const vector = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  const weigh = (scores, T) => Live.softmax(scores.map((score) => score / T));
  const mean = (weights, entries) => [0, 1, 2].map(
    (channel) => entries.reduce((sum, [, color], j) => sum + weights[j] * vector(color)[channel], 0));

  // What `color[q]` gives: Python's dict keeps what was stored last.
  const fromDict = (entries, q) => entries.findLast(([key]) => key === q)?.[1];

  // --- the address: ?q=lemons&T=1&entries=cherry:ff0000,lemon:ffff00 -------------------------------------

  const isEntry = ([key, color]) =>
    key && [...key].length <= LONGEST && !key.includes("\n") && /^#[0-9a-f]{6}$/.test(color);

  function fromAddress({ entries, q = START.q, T = START.T }) {
    const now = { entries: START.entries, q, T: Number(T) };
    try {
      if (entries !== undefined) now.entries = entries.split(",").map((entry) => {
        const [key, color] = entry.split(":");
        return [decodeURIComponent(key), `#${color}`];
      });
    } catch { return null; }
    const sound = now.entries.every(isEntry) && now.entries.length <= MOST
      && now.T >= COLDEST && now.T <= HOTTEST;
    return sound ? now : null;
  }

  function toAddress({ entries, q, T }) {
    const text = entries.map(([key, color]) => `${encodeURIComponent(key)}:${color.slice(1)}`).join(",");
    return { q, T: +T.toPrecision(6), entries: entries === START.entries ? null : text };
  }

  // --- the page ------------------------------------------------------------------------------------------

  const rgb = (values) => values.map(Math.round).join(", ");
  const quoted = (word) => JSON.stringify(word);
  const pythons = (word) => word.includes("'") ? quoted(word) : `'${word}'`;
  const swatch = (values) =>
    make("span", { class: "live-swatch", style: values && `background: rgb(${rgb(values)})` });
  const code = (...parts) => make("code", { class: "live-code" }, ...parts);
  const field = (label, value) => make("input", { class: "live-field", type: "text", "aria-label": label,
    value, spellcheck: "false", autocapitalize: "off", autocomplete: "off" });

  Live.widget("lookup", (stage, options, state) => {
    let now = START;

    const asked = field("key to look up", START.q);
    asked.addEventListener("input", () => change({ q: [...asked.value].slice(0, LONGEST).join("") }));
    const answers = make("div", { class: "live-answers" });
    const heat = Live.slider("temperature τ", { min: COLDEST, max: HOTTEST, log: true, value: 1,
      text: (T) => +T.toPrecision(2) }, (T) => change({ T }));
    heat.classList.add("live-heat");
    const rows = make("tbody");
    const heading = (name) => make("th", { scope: "col", class: `live-${name}` }, name);
    const headings = ["key", "value", "score", "weight"].map(heading);
    const table = make("table", { class: "live-table" },
      make("thead", {}, make("tr", {}, ...headings, make("td"))), rows);

    const newKey = field("key to store", AGAIN[0]);
    const newColor = make("input", { class: "live-color", type: "color", "aria-label": "its color",
      value: AGAIN[1] });
    const form = make("form", { class: "live-controls", onsubmit: store },
      code('color["', newKey, '"] = '), newColor, make("button", { class: "live-button" }, "Store"),
      make("button", { class: "live-button", type: "button", onclick: restart }, "Start again"));

    // - what a reader does -

    function change(changes) {
      now = { ...now, ...changes };
      show();
      state.set(toAddress(now));
    }

    function store(event) {
      event.preventDefault();  // a form would leave the page
      const key = newKey.value;
      if (!key) Live.say(stage, "Type a key to store the color under.");
      else if ([...key].length > LONGEST) Live.say(stage, `A key may have ${LONGEST} letters, not more.`);
      else if (now.entries.length === MOST) Live.say(stage, `${MOST} entries are enough: take one out.`);
      else change({ entries: [...now.entries, [key, newColor.value]] });
    }

    function takeOut(j) {
      change({ entries: now.entries.toSpliced(j, 1) });
      newKey.focus();  // the button that had the focus is gone
    }

    function restart() {
      [newKey.value, newColor.value] = AGAIN;
      asked.value = START.q;
      change(START);
    }

    // - what the page says -

    function explain(scores, weights) {
      const { entries, q } = now, highest = Math.max(...scores), best = entries[scores.indexOf(highest)][0];
      const times = entries.filter(([key]) => key === best).length;
      if ([...asked.value].length > LONGEST) return `Only the first ${LONGEST} letters are looked at.`;
      if (highest === 0) return `Nothing matches ${quoted(q)}: the answer is the mean at every temperature.`;
      if (times > 1) return `${quoted(best)} is stored ${times} times, with equal scores at every `
        + "temperature: attention averages, and the dict has kept the last.";
      if (Math.max(...weights) > 0.999) return "So cold that the best match takes all"
        + (best === q ? ": the dict is back." : "; a dict has no answer here.");
      if (Math.max(...weights) - Math.min(...weights) < 0.01) return "So hot that the answer is the mean.";
      return `${quoted(best)} matches best, and the others have some of the weight.`;
    }

    function answer(name, values, text) {
      return make("div", { class: "live-reply" }, swatch(values), make("div", {},
        make("div", { class: "live-quiet" }, name), values ? rgb(values) : code(text)));
    }

    function show() {
      const { entries, q, T } = now;
      const scores = entries.map(([key]) => score(q, key)), weights = weigh(scores, T);
      const hit = fromDict(entries, q);
      answers.replaceChildren(
        answer("dict", hit && vector(hit), `KeyError: ${pythons(q)}`),
        answer("attention", mean(weights, entries)));

      // The slider lies on its own answers, from cold to hot.
      const stops = Array.from({ length: 41 }, (_, i) => COLDEST * (HOTTEST / COLDEST) ** (i / 40));
      const colors = stops.map((T) => `rgb(${rgb(mean(weigh(scores, T), entries))})`);
      heat.style.setProperty("--live-strip", `linear-gradient(to right, ${colors.join(", ")})`);
      heat.set(T);

      rows.replaceChildren(...entries.map(([key, color], j) => make("tr", {},
        make("th", { scope: "row" }, code(key)),
        make("td", {}, swatch(vector(color)), make("span", { class: "live-rgb" }, rgb(vector(color)))),
        make("td", {}, scores[j].toFixed(3)),
        make("td", {}, make("div", { class: "live-bar live-of-lookup", style: `--share: ${weights[j]}` },
          weights[j].toFixed(3))),
        make("td", {}, make("button", { class: "live-button live-out", "aria-label": `Take ${key} out`,
          disabled: entries.length === 1, onclick: () => takeOut(j) }, "×")))));
      Live.say(stage, explain(scores, weights));
    }

    function follow(values) {
      const read = fromAddress(values);
      now = read ?? START;
      asked.value = now.q;
      show();
      if (!read) Live.say(stage, "The address holds what cannot be; this is the start instead.");
    }

    stage.append(code('color["', asked, '"]'), answers, heat);
    Live.say(stage, "");  // has its place here, below the answers
    stage.append(table, form);
    follow(state.get());
    state.watch(follow);
  });
}
