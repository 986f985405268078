// Reading the heads: every head of Taleteller placed between window and lookup, for a text that the reader types,
// and what the text loses when one of them is taken away.
//
// gpt.js is the model's engine and has the measures; taleteller.js holds its weights. Memories hold what the model
// computes for the text: `whole`, `less` without the chosen head, and `trial` without each in turn.

"use strict";

{
  const BETWEEN = "\n\n";  // stories stood so in the training text: a text here begins after such a gap
  const GAP = 34;          // pixels from one head's button to the next in a lane
  const AHEAD = 16;        // tokens that the two models go on by
  const FEW = 20;          // tokens, below which the mean output of a head is nearly its output
  const EACH = "Remove each in turn";

  const { make, svg } = Live;
  const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
  const mean = (xs) => xs.reduce((sum, x) => sum + x, 0) / xs.length;
  const percent = (x) => `${x < -0.005 ? "−" : ""}${Math.abs(100 * x).toFixed(0)} %`;
  const signed = (x, n) => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(n)}`;

  // What the heads can be placed by: the value of a head, its place between 0 (left) and 1, and the axis.
  const AXES = {
    offset: {
      name: "what the offset explains", value: (head) => head.offset, place: (x) => 1 - x, text: percent,
      ends: ["window", "lookup"], ticks: [1, 0.75, 0.5, 0.25, 0],
      note: "100 %: one number for each offset, how many tokens back, gives all weights of the head, whatever the " +
        "tokens are. 0 %: it gives them no better than equal weights do. Between them, parts of the deviance, " +
        "1 − Σ KL(w‖p)/Σ KL(w‖equal); each row is predicted from the others.",
    },
    key: {
      name: "what the key explains", value: (head) => head.key, place: (x) => 1 - x, text: percent,
      ends: ["the same keys for every query", "each query its own"], ticks: [1, 0.75, 0.5, 0.25, 0],
      note: "100 %: the mean query, asked everywhere, gives all weights of the head: every query wants the same " +
        "keys, the latest, say. 0 %: it gives them no better than equal weights do.",
    },
    spread: {
      name: "effective keys", value: (head) => head.spread,
      text: (x) => x.toFixed(x < 10 && !Number.isInteger(x) ? 1 : 0),
      place: (x, { most }) => 1 - Math.log(x) / Math.log(most),
      ends: ["many keys", "one key"], ticks: [256, 64, 16, 4, 1],
      note: "Effective keys: exp of the entropy of a row of weights, here the mean over all rows. 1 if one key has " +
        "all the weight; as many as there are keys, if all have the same.",
    },
    cost: {
      name: "what removal costs", value: (head) => head.cost, text: (x) => signed(1000 * x, 1),
      place: (x, { costs: [low, high] }) => (x - low) / (high - low || 1),
      ends: ["least", "most"], ticks: [],
      note: "By how many thousandths of a nat per character the loss of this text grows when this head alone is " +
        "removed. What several heads cost together is not the sum.",
    },
  };

  function fromAddress({ layer, head, query, by, removal }) {
    const number = (x, low, other) => (/^\d{1,6}$/.test(x) ? Math.max(low, x) : other);
    return {
      layer: number(layer, 1, null), head: number(head, 1, null),
      query: number(query, 0, null),  // null: the last token, whichever it is
      by: by in AXES ? by : "offset", removal: removal === "zero" ? "zero" : "mean",
    };
  }

  // Places in ascending order, moved apart to GAP with the least squared displacement and kept within the lane:
  // neighbors that would overlap move together.
  function apart(places, width) {
    const blocks = [];
    places.forEach((place, i) => {
      blocks.push({ n: 1, at: place - i * GAP });
      for (let a, b; blocks.length > 1 && (b = blocks.at(-1)).at < (a = blocks.at(-2)).at; blocks.pop())
        Object.assign(a, { n: a.n + b.n, at: (a.n * a.at + b.n * b.at) / (a.n + b.n) });
    });
    const most = Math.max(GAP / 2, width - GAP / 2 - (places.length - 1) * GAP);
    const at = blocks.flatMap((block) => Array(block.n).fill(clamp(block.at, GAP / 2, most)));
    return at.map((x, i) => x + i * GAP);
  }

  Live.widget("heads", (stage, options, state) => {
    const place = stage.closest(".live").id;
    let now;                          // what the address tells, but for the text
    let GPT, model, whole, less, trial;  // once they are loaded
    let ids = [], first = 0, cut = 0; // the text's tokens, the place of its first one, and how many had no room
    let heads = [];                   // { layer, head, offset, key, spread, cost } of each, from 1
    let before = [], after = [];      // nats for each token of the text with all heads, and without the chosen one
    let turn = 0, choice = 0, timer;  // count texts and chosen heads: what is computed for an earlier one gives up
    let colors = null, buttons = [];

    // - the parts -

    const label = (text, field) =>
      make("label", { class: "live-check live-heads-label" }, make("span", {}, text), field);
    const select = (choices, chosen) => make("select", { class: "live-field", onchange: (e) => chosen(e.target.value) },
      ...Object.entries(choices).map(([value, text]) => make("option", { value }, text)));
    const strip = (name, text) => make("div", { class: "live-speak-strip", role: "listbox", tabindex: 0,
      "aria-label": text, "aria-orientation": "horizontal", id: `${place}-${name}`,
      onkeydown: pressToken, onclick: pickToken });
    const section = (title, ...parts) =>
      make("div", {}, make("p", { class: "live-speak-title" }, title), ...parts);
    const line = () => make("p", { class: "live-speak-caption" });

    const text = make("textarea", { class: "live-field live-speak-text", rows: 3, spellcheck: "false",
      oninput: typed, placeholder: "Once there was a …", "aria-label": "The text whose heads are measured" });
    const again = make("button", { class: "live-button", type: "button",
      onclick: () => (asking.retry(), update()) }, "Read it");
    const by = select(Object.fromEntries(Object.entries(AXES).map(([by, { name }]) => [by, name])),
      (by) => change({ by }));
    const count = make("button", { class: "live-button", type: "button", onclick: removeEach }, EACH);
    const axis = make("div", { class: "live-heads-axis", "aria-hidden": "true" });
    const lanes = make("div", { class: "live-heads-lanes", role: "group", onkeydown: pressHead,
      "aria-label": "The heads, a row for each layer; arrows move, Enter chooses" });
    const note = line(), about = line(), looks = line(), costs = line(), grows = line();
    const seen = strip("seen", "The tokens, shaded by the weights of the chosen one");
    const map = make("canvas", { class: "live-heads-map", role: "img", onclick: pickRow });
    const removal = select({ mean: "its mean over this text", zero: "zero" }, exchange);
    const lost = strip("lost", "The tokens, shaded by what the removal adds to their surprise");
    const next = make("table", { class: "live-table live-heads-next" }), ahead = make("div", {});
    const without = make("div", { class: "live-speak-inside" },
      make("div", { class: "live-controls" }, label("In place of the head's output stands", removal)), costs,
      section("Where the surprise, −log p of a token, grows", lost, grows),
      make("div", { class: "live-beside" },
        section("What may come after the chosen token", next),
        section(`The likeliest token, ${AHEAD} times, after the text`, ahead)));
    const inside = make("div", { class: "live-speak-inside", hidden: true },
      make("div", { class: "live-heads-places", "data-pictured": true },
        make("div", { class: "live-controls" }, label("Place the heads by", by), count),
        make("div", {}, axis, lanes), note, about),
      make("div", { class: "live-beside" },
        section("Queries down, keys across", map),
        section("The weights of one query; a click chooses another", seen, looks)),
      without);
    stage.append(text, make("div", { class: "live-controls" }, again), inside);

    // - the model -

    const asking = Live.asking(stage, "Read it", (engine, loaded) => {
      [GPT, model] = [engine, loaded];
      [whole, less, trial] = [model.remember(), model.remember(), model.remember()];
      buildHeads();
      inside.hidden = false;
      again.hidden = true;
      new ResizeObserver(() => heads.length && drawLanes()).observe(lanes);
    });

    // Reads the text and measures all heads; then what the removal of the chosen one does.
    async function update() {
      const mine = ++turn;
      if (!await asking.wake() || mine !== turn) return;
      const all = model.encode(BETWEEN + text.value.trimStart().replace(/ +$/, ""));
      ids = all.slice(0, model.config.block_size);
      cut = all.length - ids.length;
      first = model.encode(BETWEEN).length;
      if (ids.length - whole.ids.length > 30) Live.say(stage, "Reading …");
      if (!await model.read(whole, ids) || mine !== turn) return;
      measure();
      const found = await surprises(whole);
      if (mine !== turn) return;
      [before, after] = [found, []];
      draw();
      await remove();
    }

    const rowsOf = ({ weights }, layer, head) =>
      ids.map((_, t) => model.rowOf(weights[layer - 1][head - 1], t));

    function measure() {
      const { n_layer, n_head } = model.config;
      heads = Array.from({ length: n_layer * n_head }, (_, i) => {
        const layer = 1 + Math.floor(i / n_head), head = 1 + i % n_head, rows = rowsOf(whole, layer, head);
        const spreads = rows.map(GPT.effectiveKeys), offset = GPT.explained(rows, GPT.byOffset(rows));
        const key = GPT.explained(rows, GPT.byKey(model.meanScores({ ...whole, ids }, layer - 1, head - 1)));
        return { layer, head, offset, key, spreads, spread: mean(spreads), cost: null };
      });
      if (now.by === "cost") now.by = "offset";  // the costs were another text's
      const { layer, head } = headOf(now) ?? heads.reduce((a, b) => (b.offset < a.offset ? b : a));
      Object.assign(now, { layer, head });
    }

    const headOf = ({ layer, head }) => heads.find((one) => one.layer === layer && one.head === head);

    // -log p of each token of the text, given those before it, in nats.
    async function surprises(memory) {
      const found = [];
      let until = performance.now() + 10;
      for (let t = first; t < ids.length; t++) {
        const logits = model.logits(memory, t - 1), most = Math.max(...logits);
        const sum = logits.reduce((sum, z) => sum + Math.exp(z - most), 0);
        found.push(most + Math.log(sum) - logits[ids[t]]);
        if (performance.now() < until) continue;
        await new Promise((resume) => setTimeout(resume));
        until = performance.now() + 10;
      }
      return found;
    }

    // Reads the text into a memory, without a head. False if something else was asked for meanwhile.
    function readWithout(memory, { layer, head }) {
      const { d_model, n_head } = model.config;
      const output = now.removal === "zero" ? new Float32Array(d_model / n_head)
        : model.meanOutput({ ...whole, ids }, layer - 1, head - 1);
      memory.without = { layer: layer - 1, head: head - 1, output };
      memory.ids.length = 0;
      return model.read(memory, ids);
    }

    // What the text loses without the chosen head.
    async function remove() {
      const mine = [turn, ++choice], late = () => mine[0] !== turn || mine[1] !== choice;
      after = [];
      Live.say(stage, `Removing head ${now.layer}.${now.head} …`);
      if (!await readWithout(less, now) || late()) return;
      const found = await surprises(less);
      if (late()) return;
      after = found;
      drawRemoval();
      const added = [await goOn(whole, late), await goOn(less, late)];
      if (late()) return;
      drawAhead(...added);
      Live.say(stage, remark());
    }

    // The likeliest token again and again, until the story ends or the context is full. What is added to the
    // memory goes again.
    async function goOn(memory, late) {
      const added = [];
      while (added.length < AHEAD && ids.length + added.length < model.config.block_size) {
        const logits = model.logits(memory);
        added.push(logits.indexOf(Math.max(...logits)));
        if (late() || model.decode(added).endsWith(BETWEEN)) break;
        if (!await model.read(memory, [...ids, ...added])) break;
      }
      if (!late()) memory.ids.length = ids.length;
      return added;
    }

    // The cost of each head alone, for this text.
    async function removeEach() {
      const mine = turn;
      count.disabled = true;
      for (const [i, head] of heads.entries()) {
        count.textContent = `Removing ${i + 1} of ${heads.length} …`;
        const nats = await readWithout(trial, head) && await surprises(trial);
        if (mine !== turn) break;
        head.cost = perCharacter(nats) - perCharacter(before);
      }
      count.disabled = false;
      count.textContent = EACH;
      if (mine === turn) change({ by: "cost" });
    }

    const characters = () => [...model.decode(ids.slice(first))].length;
    const perCharacter = (nats) => nats.reduce((sum, x) => sum + x, 0) / characters();

    function remark() {
      const n = ids.length - first, said = [];
      if (!n) said.push("Nothing is written yet, so there is nothing to lose.");
      else if (now.removal === "mean" && n < FEW)
        said.push(`With ${n === 1 ? "one token" : `${n} tokens`} the mean over the text is nearly the head's own ` +
          "output: try zero, or a longer text.");
      if (cut) said.push(`The first ${ids.length} tokens are read, as many as the context has room for; ` +
        `${cut} more are not.`);
      return said.join(" ");
    }

    // - drawing -

    const query = () => clamp(now.query ?? Infinity, 0, ids.length - 1);
    const signs = (id) => GPT.visible(model.decodeBytes([id]));
    const quoted = (t) => `“${signs(ids[t])}”`;

    function draw() {
      colors ??= Live.palette();
      by.value = now.by;
      removal.value = now.removal;
      by.querySelector("[value=cost]").disabled = heads.some(({ cost }) => cost === null);
      for (const strip of [seen, lost]) drawTokens(strip);
      drawLanes();
      drawMap();
      drawChosen();
    }

    // What the chosen token looks at, and what its surprise and the next token's probabilities become.
    function drawChosen() {
      drawQuery();
      drawRemoval();
    }

    function drawLanes() {
      const { value, place: placed, text, ends, ticks, note: words } = AXES[now.by];
      const width = lanes.clientWidth, values = heads.map(value);
      const range = { most: Math.max(2, ids.length), costs: [Math.min(...values), Math.max(...values)] };
      const x = (value) => 8 + clamp(placed(value, range), 0, 1) * (width - 16);
      const shown = now.by === "cost" ? range.costs : ticks.filter((tick) => tick <= range.most);
      axis.replaceChildren(
        make("div", {}, ...ends.map((end) => make("span", {}, end))),
        make("div", {}, ...shown.map((tick) => make("span",
          { style: `left: ${x(tick)}px; translate: ${-100 * x(tick) / width}%` }, text(tick)))));
      note.textContent = words;
      for (const lane of lanes.children) {
        const inLane = heads.filter((head) => head.layer === Number(lane.dataset.layer))
          .sort((a, b) => x(value(a)) - x(value(b)));
        const at = apart(inLane.map((head) => x(value(head))), width);
        lane.querySelector("svg").replaceChildren(
          svg("path", { class: "live-axis", d: `M 0 6 H ${width}` }),
          ...inLane.flatMap((head, i) => [
            svg("path", { class: "live-heads-leader", d: `M ${x(value(head))} 6 L ${at[i]} 18` }),
            svg("circle", { class: "live-heads-dot", cx: x(value(head)), cy: 6, r: 4 })]));
        inLane.forEach((head, i) => {
          const button = buttonOf(head), chosen = head === headOf(now);
          button.style.left = `${at[i] - GAP / 2}px`;
          button.ariaPressed = chosen;
          if (!lanes.contains(document.activeElement)) button.tabIndex = chosen ? 0 : -1;
          button.ariaLabel = `layer ${head.layer}, head ${head.head}: ${AXES[now.by].name}, ${text(value(head))}`;
          button.dataset.order = i;
        });
      }
    }

    const buttonOf = ({ layer, head }) => buttons[(layer - 1) * model.config.n_head + head - 1];

    function drawTokens(strip) {
      strip.replaceChildren(...ids.map((id, t) => make("span", { role: "option", id: `${strip.id}-${t}`,
        "aria-label": signs(id) },
        signs(id).replace(/␣/g, " ").replace(/⏎/g, t < first ? "⏎" : "⏎\n"))));
    }

    // Shades tokens by numbers between 0 and 1, or not at all where there is none, and marks the query.
    function shade(strip, parts) {
      [...strip.children].forEach((span, t) => {
        const level = parts[t] == null ? -1 : colors.level(clamp(parts[t], 0, 1));
        span.style.background = colors.paper[level] ?? "";
        span.style.color = colors.ink[level] ?? "";
        span.ariaSelected = t === query();
      });
      strip.setAttribute("aria-activedescendant", strip.children[query()].id);
    }

    function drawMap() {
      const n = ids.length, image = new ImageData(n, n), pixels = new Uint32Array(image.data.buffer);
      rowsOf(whole, now.layer, now.head).forEach((row, t) =>
        row.forEach((w, j) => { pixels[t * n + j] = colors.pixels[colors.level(w)]; }));
      [map.width, map.height] = [n, n];
      map.getContext("2d").putImageData(image, 0, 0);
      map.style.imageRendering = n <= 96 ? "pixelated" : "auto";
      map.ariaLabel = `The weights of layer ${now.layer}, head ${now.head}: ${n} queries down, ${n} keys across`;
    }

    function drawQuery() {
      const t = query(), { layer, head } = now, { offset, key, spread, spreads } = headOf(now);
      const row = model.rowOf(whole.weights[layer - 1][head - 1], t), best = row.indexOf(Math.max(...row));
      shade(seen, row);
      const [least, most] = [Math.min, Math.max].map((of) => of(...spreads.slice(first - 1)).toFixed(1));
      about.replaceChildren(make("strong", {}, `Head ${layer}.${head}. `),
        `The offset explains ${percent(offset)} of its weights here, the key ${percent(key)}; it has ` +
        `${spread.toFixed(1)} effective keys on average, from ${least} to ${most}. None of these numbers changes if ` +
        "q becomes Aq and k becomes A⁻ᵀk, or if one vector is added to all keys.");
      looks.textContent = `${quoted(t)}, the query, gives most weight, ${row[best].toFixed(2)}, to ${quoted(best)}` +
        `${t > best ? `, ${t - best} back` : ""}; it has ${GPT.effectiveKeys(row).toFixed(1)} effective keys.`;
    }

    function drawRemoval() {
      const known = after.length === before.length, t = query(), growth = before.map((x, i) => after[i] - x);
      without.classList.toggle("live-heads-waiting", !known);
      if (!known) return;
      const most = Math.max(0.1, ...growth), from = (i) => `${before[i].toFixed(2)} to ${after[i].toFixed(2)}`;
      shade(lost, [...Array(first), ...growth.map((x) => (x > 0.02 * most ? (x / most) ** 2 : null))]);
      growth.forEach((x, i) => {
        lost.children[first + i].title = `${from(i)} nats`;
        lost.children[first + i].classList.toggle("live-heads-gained", x < -0.1);
      });
      if (!growth.length) {
        costs.textContent = "There is no token yet on which anything could be lost.";
        grows.textContent = "";
      } else {
        const [one, other] = [before, after].map((nats) => [perCharacter(nats), mean(nats)]);
        costs.replaceChildren(`The loss of this text: ${one[0].toFixed(3)} nats per character with all heads, `,
          make("strong", {}, other[0].toFixed(3)), ` without this one (${signed(other[0] - one[0], 3)}); per token ` +
          `${one[1].toFixed(2)} and ${other[1].toFixed(2)}.`);
        const worst = growth.indexOf(Math.max(...growth)), at = t - first;
        grows.textContent = `It grows most at ${quoted(first + worst)}: from ${from(worst)} nats. ` +
          `${at >= 0 && at !== worst ? `At ${quoted(t)}, the chosen token: from ${from(at)}. ` : ""}` +
          "Dotted: it falls by more than 0.1.";
      }
      drawNext(t);
    }

    function drawNext(t) {
      const [p, q] = [whole, less].map((memory) => GPT.probabilities(model.logits(memory, t), 1));
      const most = (id) => Math.max(p[id], q[id]);
      const order = [...p.keys()].sort((a, b) => most(b) - most(a)).slice(0, 6).filter((id) => most(id) > 0.0005);
      if (t + 1 < ids.length && !order.includes(ids[t + 1])) order.splice(5, 1, ids[t + 1]);
      const bar = (share) => make("td", { style: `--share: ${share}` }, `${(100 * share).toFixed(1)} %`);
      const columns = [`after ${quoted(t)}`, "all heads", `without ${now.layer}.${now.head}`];
      next.replaceChildren(
        make("thead", {}, make("tr", {}, ...columns.map((name) => make("th", { scope: "col" }, name)))),
        make("tbody", {}, ...order.map((id) => make("tr", {},
          make("th", { scope: "row" }, signs(id), id === ids[t + 1] ? " ← stands there" : ""),
          bar(p[id]), bar(q[id])))));
    }

    function drawAhead(one, other) {
      const shown = (name, added) => make("p", { class: "live-heads-ahead" }, make("span", {}, name),
        model.decode(added).replace(/\n/g, "⏎") || "—");
      ahead.replaceChildren(shown("all heads", one), shown(`without ${now.layer}.${now.head}`, other));
    }

    function buildHeads() {
      const { n_layer, n_head } = model.config, to = (n) => Array.from({ length: n }, (_, i) => i + 1);
      lanes.append(...to(n_layer).map((layer) => make("div", { class: "live-heads-lane", "data-layer": layer },
        svg("svg", { "aria-hidden": "true" }), ...to(n_head).map((head) => make("button", { type: "button",
          "data-layer": layer, onclick: () => change({ layer, head }) }, `${layer}.${head}`)))));
      buttons = [...lanes.querySelectorAll("button")];
    }

    // - choosing -

    function chooseToken(t) {
      t = clamp(t, 0, ids.length - 1);
      change({ query: t === ids.length - 1 ? null : t });
    }
    function pickToken({ target, currentTarget }) {
      const t = [...currentTarget.children].indexOf(target);
      if (t >= 0) chooseToken(t);
    }
    function pickRow({ offsetY }) {
      chooseToken(Math.floor(offsetY / map.clientHeight * ids.length));
    }
    function pressToken(event) {
      const t = { ArrowLeft: query() - 1, ArrowRight: query() + 1, Home: 0, End: Infinity }[event.key];
      if (t === undefined) return;
      event.preventDefault();
      chooseToken(t);
    }

    // Arrows lead from button to button: along a lane as they stand there, or to the nearest of the next lane.
    function pressHead(event) {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      const from = event.target.closest("button");
      if (!step || !from) return;
      event.preventDefault();
      const [over, down] = step, layer = Number(from.dataset.layer) + down;
      const lane = buttons.filter((one) => Number(one.dataset.layer) === layer);
      const off = (one) => (down ? Math.abs(parseFloat(one.style.left) - parseFloat(from.style.left))
        : Math.abs(one.dataset.order - from.dataset.order - over));
      const to = lane.reduce((a, b) => (a && off(a) <= off(b) ? a : b), null);
      if (!to) return;
      for (const one of buttons) one.tabIndex = one === to ? 0 : -1;
      to.focus();
    }

    // - the address -

    function share() {
      const { layer, head, query, by, removal } = now;
      state.set({ prompt: text.value, layer, head, query, by: by === "offset" ? null : by,
        removal: removal === "mean" ? null : removal });
    }

    function change(changes) {
      now = { ...now, ...changes };
      share();
      if (!heads.length) return;
      if ("query" in changes) return drawChosen();
      draw();
      if ("layer" in changes || "removal" in changes) remove();
    }

    // The costs of heads are for one kind of removal.
    function exchange(removal) {
      turn++;
      for (const head of heads) head.cost = null;
      change({ removal, by: now.by === "cost" ? "offset" : now.by });
    }

    function typed() {
      share();
      clearTimeout(timer);
      turn++;
      timer = setTimeout(update, model ? 250 : 0);
    }

    function follow(values) {
      now = fromAddress({ ...options, ...values });
      text.value = values.prompt ?? options.prompt ?? "";
    }

    follow(state.get());
    state.watch((values) => { follow(values); update(); });
    Live.onTheme(() => { colors = null; if (heads.length) draw(); });
    if (Object.keys(state.get()).length) return update();  // somebody shared what is to be seen
    if (!navigator.connection?.saveData) return Live.idle().then(update);
    Live.say(stage, "“Read it”, or the first letter that you type, loads the model, about a megabyte.");
  });
}
